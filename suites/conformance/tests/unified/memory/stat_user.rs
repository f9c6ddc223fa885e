//! `memory.stat`, the memory that processes use: each key against what a process
//! touched, to the page.

use cgauge_lab::prelude::*;
use nix::libc;

use crate::support::*;

const PAGES: u64 = 1024;

/// Says that `key` grew by so many pages.
fn grew(
    lab: &Lab,
    what: &str,
    key: &str,
    change: Result<i64, Stop>,
    pages: i64,
    why: &str,
) -> Outcome {
    lab.accounting(&format!("{key} after {what}"))
        .covers([R083, R105, R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(change?)
        .equals(pages, why);
    Ok(())
}

/// Anonymous memory is counted as anon, to the page, in use and given back.
#[rstest]
fn anon_follows_what_a_process_touches(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    no_khugepaged()?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::anonymous(PAGES * PAGE) else { return };
        turns.step(|| memory.touch());
        turns.step(|| memory.read(0..PAGES, 1));
        turns.step(|| {
            memory.advise_part(0..PAGES / 2, libc::MADV_DONTNEED).map_or(0, |()| PAGES / 2)
        });
        turns.step(|| memory.lock().map_or(0, |()| PAGES));
        turns.step(|| {
            drop(memory);
            0
        });
    })?;
    let before = Stat::settled(&group)?;
    let current = group.number("memory.current")?;

    let touched = process.next()?.cast_signed();
    let after = Stat::settled(&group)?;
    grew(
        &lab,
        "a process touched anonymous pages",
        "anon",
        after.pages(&before, "anon"),
        touched,
        EXACT,
    )?;
    for key in ["file", "shmem", "file_mapped", "anon_thp", "file_dirty", "unevictable"] {
        grew(
            &lab,
            "a process touched anonymous pages",
            key,
            after.pages(&before, key),
            0,
            "the pages are anonymous, small and not locked",
        )?;
    }
    lab.accounting("page faults of the touched pages")
        .covers([R107])
        .file("memory.stat:pgfault")
        .unit(Unit::Events)
        .observed(after.growth(&before, "pgfault")?)
        .equals(touched, "each page is touched for the first time once, which is one fault");
    lab.accounting("major page faults of them")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Events)
        .observed(after.growth(&before, "pgmajfault")?)
        .equals(0, "no page comes from a device");
    let tables = after.growth(&before, "pagetables")?.cast_unsigned();
    lab.accounting("page tables of the touched pages")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(tables)
        .between(PAGE, 3 * PAGE, "512 pages share a table: 1024 pages need two or, off a border, three, of which one may be there");
    lab.accounting("growth of memory.current")
        .covers([R083])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(group.number("memory.current")? - current)
        .between(PAGES * PAGE - BATCH, PAGES * PAGE + tables + BATCH, BATCHED);
    let lists = |it: &Stat| it.sum(&["active_anon", "inactive_anon"]);
    lab.accounting("growth of the lists of anonymous pages")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed((lists(&after) - lists(&before)) / PAGE)
        .between(PAGES - 31, PAGES + 31, "a page is put on its list in lots of up to 31 (include/linux/pagevec.h), and others' last ones may come along");

    process.next()?;
    let read = Stat::settled(&group)?;
    grew(
        &lab,
        "the process read them again",
        "anon",
        read.pages(&after, "anon"),
        0,
        "they are there already",
    )?;
    let given_back = process.next()?.cast_signed();
    let less = Stat::settled(&group)?;
    grew(
        &lab,
        "the process gave half of them back",
        "anon",
        less.pages(&read, "anon"),
        -given_back,
        EXACT,
    )?;
    process.next()?;
    let locked = Stat::settled(&group)?;
    grew(
        &lab,
        "the process locked all of them",
        "unevictable",
        locked.pages(&less, "unevictable"),
        touched,
        "mlock(2) brings every page in and takes it off reclaim's lists",
    )?;
    grew(
        &lab,
        "the process locked all of them",
        "anon",
        locked.pages(&less, "anon"),
        given_back,
        "the missing half came back",
    )?;
    process.next()?;
    let gone = Stat::settled(&group)?;
    grew(&lab, "the process unmapped them", "anon", gone.pages(&before, "anon"), 0, EXACT)?;
    lab.accounting("unevictable after the process unmapped them")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(gone.get("unevictable")? / PAGE)
        .at_most(31, "a page is taken off its list in lots of up to 31 (include/linux/pagevec.h)");
    lab.accounting("memory.current above what it was at first, after the process unmapped them")
        .covers([R083])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(group.number("memory.current")?.saturating_sub(current))
        .at_most(tables + BATCH, BATCHED);
    Ok(())
}

/// Shared memory is counted as shmem and as file, to the page, and as mapped where it is mapped.
#[rstest]
fn shmem_follows_what_a_process_touches(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::shmem(PAGES * PAGE) else { return };
        turns.step(|| memory.touch());
        turns.step(|| {
            drop(memory);
            0
        });
        let path = std::env::temp_dir().join("written");
        let Ok(file) = std::fs::File::create(&path) else { return };
        turns.step(|| write_pages(&file, 0..PAGES));
        turns.step(|| std::fs::remove_file(&path).map_or(1, |()| 0));
        turns.step(|| {
            drop(file);
            0
        });
    })?;
    let before = Stat::settled(&group)?;
    let touched = process.next()?.cast_signed();
    let after = Stat::settled(&group)?;
    for key in ["shmem", "file", "file_mapped"] {
        grew(
            &lab,
            "a process touched shared pages",
            key,
            after.pages(&before, key),
            touched,
            EXACT,
        )?;
    }
    grew(
        &lab,
        "a process touched shared pages",
        "anon",
        after.pages(&before, "anon"),
        0,
        "they are not anonymous",
    )?;
    process.next()?;
    let gone = Stat::settled(&group)?;
    for key in ["shmem", "file", "file_mapped"] {
        grew(&lab, "the last mapping of them went", key, gone.pages(&before, key), 0, EXACT)?;
    }
    let written = process.next()?.cast_signed();
    let after = Stat::settled(&group)?;
    for key in ["shmem", "file"] {
        grew(
            &lab,
            "a process wrote a file on tmpfs",
            key,
            after.pages(&gone, key),
            written,
            "cgroup-v2.rst, memory.stat, shmem: \"tmpfs, shm segments, shared anonymous mmap()s\"; the process's own count of the pages",
        )?;
    }
    grew(
        &lab,
        "a process wrote a file on tmpfs",
        "file_mapped",
        after.pages(&gone, "file_mapped"),
        0,
        "it is written and not mapped",
    )?;
    grew(
        &lab,
        "a process wrote a file on tmpfs",
        "file_dirty",
        after.pages(&gone, "file_dirty"),
        0,
        "tmpfs has nowhere to write back to",
    )?;
    process.next()?;
    let unlinked = Stat::settled(&group)?;
    grew(
        &lab,
        "the file lost its name",
        "shmem",
        unlinked.pages(&after, "shmem"),
        0,
        "the process still has it open",
    )?;
    process.next()?;
    let gone = Stat::settled(&group)?;
    grew(&lab, "the file was closed", "shmem", gone.pages(&after, "shmem"), -written, EXACT)?;
    Ok(())
}

/// Page cache is counted as file, to the page; what is mapped, dirty or being written back of it, as that.
#[rstest]
fn file_follows_what_a_process_reads_and_writes(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(file) = device() else { return };
        turns.step(|| read_pages(&file, 0..PAGES));
        turns.step(|| read_pages(&file, 0..PAGES));
        let Ok(mapped) = Memory::of_file(&file, 0, PAGES / 2 * PAGE) else { return };
        turns.step(|| {
            mapped.read(0..PAGES / 2, 1);
            PAGES / 2
        });
        turns.step(|| write_pages(&file, PAGES - 128..PAGES + 128));
        turns.step(|| file.sync_all().map_or(1, |()| 0));
        turns.step(|| {
            drop(mapped);
            // SAFETY: advice on a descriptor of our own.
            unsafe {
                libc::posix_fadvise(
                    std::os::fd::AsRawFd::as_raw_fd(&file),
                    0,
                    0,
                    libc::POSIX_FADV_DONTNEED,
                )
            };
            0
        });
    })?;
    let before = Stat::settled(&group)?;
    let read = process.next()?.cast_signed();
    let cached = Stat::settled(&group)?;
    grew(&lab, "a process read a file", "file", cached.pages(&before, "file"), read, EXACT)?;
    for key in ["shmem", "anon", "file_mapped", "file_dirty", "file_writeback"] {
        grew(
            &lab,
            "a process read a file",
            key,
            cached.pages(&before, key),
            0,
            "it is read and no more",
        )?;
    }
    let lists = |it: &Stat| it.sum(&["active_file", "inactive_file"]);
    lab.accounting("growth of the lists of file pages after a process read a file")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed((lists(&cached) - lists(&before)) / PAGE)
        .between(
            read - 31,
            read,
            "a page is put on its list in lots of up to 31 (include/linux/pagevec.h)",
        );
    process.next()?;
    let again = Stat::settled(&group)?;
    grew(
        &lab,
        "it read the same again",
        "file",
        again.pages(&cached, "file"),
        0,
        "it is there already",
    )?;
    let mapped = process.next()?.cast_signed();
    let after = Stat::settled(&group)?;
    grew(
        &lab,
        "it touched a mapping of half of it",
        "file_mapped",
        after.pages(&again, "file_mapped"),
        mapped,
        EXACT,
    )?;
    grew(
        &lab,
        "it touched a mapping of half of it",
        "file",
        after.pages(&again, "file"),
        0,
        "a mapping shows pages that are there",
    )?;
    // The kernel's own writeback begins five seconds later at the earliest.
    let written = process.next()?.cast_signed();
    let dirty = Stat::settled(&group)?;
    grew(
        &lab,
        "it wrote pages, half of them new",
        "file_dirty",
        dirty.pages(&after, "file_dirty"),
        written,
        "written 2.2 s ago; writeback takes what is 30 s old (vm.dirty_expire_centisecs)",
    )?;
    grew(
        &lab,
        "it wrote pages, half of them new",
        "file",
        dirty.pages(&after, "file"),
        written / 2,
        EXACT,
    )?;
    process.next()?;
    let clean = Stat::settled(&group)?;
    for key in ["file_dirty", "file_writeback"] {
        grew(
            &lab,
            "it waited for them to be written",
            key,
            clean.pages(&after, key),
            0,
            "fsync(2) returns once all is on the device",
        )?;
    }
    process.next()?;
    let dropped = Stat::settled(&group)?;
    grew(
        &lab,
        "it dropped the cache of the file",
        "file",
        dropped.pages(&before, "file"),
        0,
        EXACT,
    )?;
    grew(
        &lab,
        "it dropped the cache of the file",
        "file_mapped",
        dropped.pages(&before, "file_mapped"),
        0,
        EXACT,
    )?;
    Ok(())
}

/// Pages that are on their way to the device are counted as file_writeback.
#[rstest]
fn file_writeback_counts_what_is_on_its_way(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(file) = device() else { return };
        turns.step(|| write_pages(&file, 0..PAGES));
        turns.step(|| {
            // SAFETY: a descriptor of our own.
            let begun = unsafe {
                libc::sync_file_range(
                    std::os::fd::AsRawFd::as_raw_fd(&file),
                    0,
                    0,
                    libc::SYNC_FILE_RANGE_WRITE,
                )
            };
            u64::from(begun != 0)
        });
    })?;
    let before = Stat::settled(&group)?;
    let written = process.next()?;
    let dirty = Stat::settled(&group)?;
    process.turns().begin()?;
    // The request takes a millisecond, and there are several.
    let mut most = 0;
    let mut points = Vec::new();
    let began = cgauge_lab::time::now();
    for _ in 0..200 {
        let writeback = Stat::now(&group)?.get("file_writeback")? / PAGE;
        points.push((cgauge_lab::time::now() - began, writeback as f64));
        most = most.max(writeback);
        cgauge_lab::time::pause(Duration::from_micros(100));
    }
    process.turns().ended_within(60_000)?;
    let after = Stat::settled(&group)?;
    grew(
        &lab,
        "a process wrote pages",
        "file_dirty",
        dirty.pages(&before, "file_dirty"),
        written.cast_signed(),
        EXACT,
    )?;
    lab.accounting("the most that was seen as file_writeback while they were written")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(most)
        .between(64, written, "the requests are all made before the first, which takes a millisecond, is done, and never more than was written; the count is brought up to date only once 64 pages have changed");
    for key in ["file_dirty", "file_writeback"] {
        grew(
            &lab,
            "all of it was written",
            key,
            after.pages(&before, key),
            0,
            "the device has answered every request",
        )?;
    }
    lab.series("file_writeback", Unit::Pages, &points, Some(written as f64));
    Ok(())
}
