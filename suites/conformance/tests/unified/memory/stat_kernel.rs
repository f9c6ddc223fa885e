//! `memory.stat`, the kernel's memory on behalf of processes: stacks, page
//! tables, objects, what lies on each CPU, sockets, scattered pages.

use cgauge_lab::kernel_memory::{
    Connection, epolls, object_bytes, possible_cpus, widest_descriptor,
};
use cgauge_lab::prelude::*;
use cgauge_lab::turns::Turns;

use crate::support::*;

/// memory.stat and memory.current before a step, after it, and after another
/// that undoes it.
struct Around {
    told: u64,
    before: Stat,
    after: Stat,
    gone: Stat,
    current: u64,
}

fn around(lab: &Lab, body: impl FnOnce(&Turns)) -> Result<Around, Stop> {
    no_khugepaged()?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, body)?;
    let before = Stat::settled(&group)?;
    let current = group.number("memory.current")?;
    let told = process.next()?;
    let after = Stat::settled(&group)?;
    let current = group.number("memory.current")? - current;
    process.next()?;
    Ok(Around { told, before, after, gone: Stat::settled(&group)?, current })
}

impl Around {
    fn grew(&self, key: &str) -> Result<u64, Stop> {
        Ok(self.after.growth(&self.before, key)?.max(0).cast_unsigned())
    }

    fn left(&self, key: &str) -> Result<u64, Stop> {
        Ok(self.gone.growth(&self.before, key)?.max(0).cast_unsigned())
    }
}

/// Each thread's kernel stack is counted as kernel_stack and as kernel, and given back.
#[rstest]
fn kernel_stack_follows_threads(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    const THREADS: u64 = 20;
    // arch/x86/include/asm/page_64_types.h: four pages.
    const STACK: u64 = 4 * PAGE;
    let it = around(&lab, |turns| {
        let (over, ends) = std::sync::mpsc::channel::<()>();
        let ends = std::sync::Arc::new(std::sync::Mutex::new(ends));
        let mut threads = Vec::new();
        turns.step(|| {
            threads.extend((0..THREADS).filter_map(|_| {
                let ends = std::sync::Arc::clone(&ends);
                let wait = move || drop(ends.lock().map(|it| it.recv()));
                std::thread::Builder::new().stack_size(65536).spawn(wait).ok()
            }));
            threads.len() as u64
        });
        turns.step(|| {
            drop(over);
            threads.into_iter().filter_map(|it| it.join().ok()).count() as u64
        });
    })?;
    lab.accounting("kernel_stack with twenty more threads")
        .covers([R106])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(it.grew("kernel_stack")?)
        .equals(
            it.told * STACK,
            "16 KiB a thread on x86-64 (THREAD_SIZE), and the process counted its threads",
        );
    if it.after.has("kernel") {
        lab.accounting("kernel with twenty more threads")
            .covers([R106])
            .file("memory.stat")
            .unit(Unit::Bytes)
            .observed(it.grew("kernel")?)
            .between(it.told * STACK, it.told * (STACK + 16384), "the stacks, and of each thread its task_struct and its share of page tables, which are less than a stack");
    }
    lab.accounting("kernel_stack once they have ended, beyond what it was before")
        .covers([R106])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(it.left("kernel_stack")?)
        .at_most(
            2 * STACK,
            "a CPU keeps up to two stacks for the next thread (kernel/fork.c, NR_CACHED_STACKS)",
        );
    Ok(())
}

/// Page tables are counted as pagetables, one page for every 512 that are mapped.
#[rstest]
fn pagetables_follow_mapped_pages(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    const TABLES: u64 = 256;
    let it = around(&lab, |turns| {
        let Ok(memory) = Memory::anonymous(TABLES * HUGE) else { return };
        // Reading maps the one page of zeroes, which is nobody's: the tables alone are charged.
        turns.step(|| (0..TABLES).map(|it| memory.read(it * 512..it * 512 + 1, 0)).sum());
        turns.step(|| {
            drop(memory);
            0
        });
    })?;
    lab.accounting("pagetables with a page mapped in each of 256 areas of 2 MiB")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(it.grew("pagetables")? / PAGE)
        .between(it.told - 1, it.told + 1, "one table an area; off a border the first area's may be there already, and the whole may need one more table of tables");
    lab.accounting("anon with them mapped")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(it.grew("anon")?)
        .equals(0, "they all show the page of zeroes");
    lab.accounting("growth of memory.current with them")
        .covers([R105, R106])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(it.current)
        .between((it.told - 1) * PAGE - BATCH, (it.told + 1) * PAGE + BATCH, BATCHED);
    lab.accounting("pagetables once the areas are unmapped")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(it.left("pagetables")?)
        .equals(0, "the process has what it had before");
    Ok(())
}

/// Objects are counted as slab, reclaimable or not, by their size.
#[rstest]
fn slab_follows_kernel_objects(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    const OBJECTS: u64 = 1000;
    let it = around(&lab, |turns| {
        let mut held = Vec::new();
        // Its vector and its table of descriptors grow here and not below.
        drop(epolls(OBJECTS as usize));
        settle();
        turns.step(|| {
            held = epolls(OBJECTS as usize);
            held.len() as u64
        });
        turns.step(|| {
            drop(held);
            0
        });
    })?;
    let (reclaimable, dentry) =
        (it.grew("slab_reclaimable")?, object_bytes("dentry").unwrap_or(192));
    lab.accounting("slab_reclaimable with a thousand more files")
        .covers([R106, R107])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(reclaimable)
        .between(it.told * dentry, it.told * (dentry + 8), "each has one dentry, of the size that /sys/kernel/slab names, and the kernel's pointer to the group that it is charged to");
    let (fixed, file) = (it.grew("slab_unreclaimable")?, object_bytes("filp").unwrap_or(192));
    lab.accounting("slab_unreclaimable with them")
        .covers([R106, R107])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(fixed)
        .between(it.told * file, it.told * (file + 8) + 4 * PAGE, "each has one struct file, and a pointer beside it as above; their table of descriptors takes 8 KiB once, and a little more is the process's own");
    lab.accounting("slab with them")
        .covers([R106])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(it.grew("slab")?)
        .equals(reclaimable + fixed, "cgroup-v2.rst, memory.stat: slab is \"Amount of memory used for storing in-kernel data structures\", of the two kinds");
    lab.accounting("slab once they are closed, beyond what it was before")
        .covers([R106])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(it.left("slab")?)
        .at_most(
            4 * PAGE,
            "what is freed is uncharged; a CPU may keep less than a page for each kind of object",
        );
    Ok(())
}

/// Memory on each CPU is counted as percpu: of a group's own making, so much for each child.
#[rstest]
fn percpu_follows_children(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    const CHILDREN: u64 = 10;
    let group = lab.group("group")?;
    group.enable("memory")?;
    let make = |round: u64| -> Result<Vec<Group>, Stop> {
        (0..CHILDREN).map(|it| group.make(&format!("child-{round}-{it}"))).collect()
    };
    // What finds room in the allocator's first chunk, made at boot, is charged to
    // nobody (mm/percpu.c: that chunk has no `obj_exts`): these fill it.
    let uncounted = make(0)?;
    let before = Stat::settled(&group)?;
    let first = make(1)?;
    let ten = Stat::settled(&group)?;
    let second = make(2)?;
    let twenty = Stat::settled(&group)?;
    let one = ten.growth(&before, "percpu")?.cast_unsigned() / CHILDREN;
    // Every key of memory.stat is a counter of the child's on each CPU, or a sum of some;
    // the smallest kernel here has 30 of its own, of eight bytes each.
    lab.accounting("percpu that one child adds")
        .covers([R106])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(one)
        .between(30 * 8 * possible_cpus(), 64 * 1024 * possible_cpus(), "the child's counters on each possible CPU: 30 of eight bytes at least, some KiB in fact");
    lab.accounting("percpu that ten more children add")
        .covers([R106])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(twenty.growth(&ten, "percpu")?.cast_unsigned())
        .equals(one * CHILDREN, "every child is as large as any other");
    drop((first, second));
    // Their last references go with a grace period and a worker.
    let gone = Stat::settled(&group)?;
    lab.accounting("percpu once the children are removed, beyond what it was before")
        .covers([R106])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(gone.growth(&before, "percpu")?)
        .equals(0, "they had no memory that would keep them");
    drop(uncounted);
    Ok(())
}

/// Memory of one address but many places is counted as vmalloc.
#[rstest]
fn vmalloc_follows_a_table_too_large_for_one_place(lab: Lab) -> Outcome {
    let it = around(&lab, |turns| {
        let mut widest = None;
        turns.step(|| {
            widest = widest_descriptor((1 << 20) - 1).ok();
            widest.iter().len() as u64
        });
        turns.step(|| {
            drop(widest);
            0
        });
    })?;
    if !it.after.has("vmalloc") {
        return Err(lab.skip("this kernel's memory.stat has no vmalloc (since 6.0)"));
    }
    lab.accounting("vmalloc with a table of 2^20 descriptors")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(it.grew("vmalloc")?)
        .equals(8 << 20, "eight bytes a descriptor (fs/file.c, alloc_fdtable); more than 4 MiB are never in one place");
    lab.accounting("growth of memory.current with it")
        .covers([R105])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(it.current)
        .between(
            (8 << 20) + (2 << 17),
            (8 << 20) + (4 << 17) + BATCH,
            "the table, and one bit a descriptor in two maps, which take the next power of two",
        );
    Ok(())
}

/// Data that waits in sockets is counted as sock, as much as the sockets have taken.
#[rstest]
fn sock_follows_data_that_waits_in_sockets(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(mut connection) = Connection::new() else { return };
        turns.step(|| connection.fill().unwrap_or(0));
        turns.step(|| connection.taken().unwrap_or(0));
        turns.step(|| {
            drop(connection);
            0
        });
    })?;
    let before = Stat::settled(&group)?;
    let queued = process.next()?;
    let after = Stat::settled(&group)?;
    let taken = process.next()?;
    process.next()?;
    let gone = Stat::settled(&group)?;
    lab.accounting("sock with data that nobody reads")
        .covers([R106])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(after.get("sock")?)
        .between(taken, taken + 2 * PAGE, "what both sockets say that they have taken (SO_MEMINFO), each rounded up to whole pages");
    lab.accounting("sock over the bytes that were sent")
        .covers([R106])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(after.get("sock")?)
        .between(
            queued,
            4 * queued,
            "the data is there, and of a buffer at least a quarter is data",
        );
    for (stat, when) in [(&before, "before any data"), (&gone, "after the sockets were closed")] {
        lab.accounting(&format!("sock {when}"))
            .covers([R106])
            .file("memory.stat")
            .unit(Unit::Bytes)
            .observed(stat.get("sock")?)
            .at_most(2 * PAGE, "a socket sets aside less than a page");
    }
    Ok(())
}
