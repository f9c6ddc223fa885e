//! A task of a fork bomb: it forks as the plan has it, then looks after its
//! children until it is killed.
//!
//! A member may share its memory with its parent, so it neither allocates nor
//! locks nor panics. It must not know when the bomb is to end.

use std::ffi::{CString, OsString};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr::null;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;

use super::shared::{Attempt, Rest, Shared};
use super::{OnDeath, Order};
use crate::journal::Event;
use crate::mapping::Mapping;
use crate::options::options;
use crate::raw::{self, Patience, Pid, Side};
use crate::{Failure, Mechanism};

/// Enough for a member, which calls nothing deep.
const STACK_BYTES: usize = 16 * 1024;

options! {
    /// A member of a running fork bomb, started by the bomb itself.
    pub struct Member as "fork-bomb-member" {
        /// The descriptor of the memory that the bomb shares.
        "shared" => shared: i32,
        /// The descriptor of the eventfd that the last member at work rings.
        "bell" => bell: i32,
        /// Which members go on forking.
        "order" => order: Order,
        /// What a member does when a child of its own has died.
        "on-death" => on_death: OnDeath,
        /// How many tasks lie between it and the bomb's first process.
        "generation" => generation: u32,
        /// The process that started it, and that it dies with.
        "parent" => parent: Pid,
    }
}

impl Member {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        // SAFETY: the bomb passed the descriptor on for this process to own.
        let shared = Shared::open(unsafe { OwnedFd::from_raw_fd(self.shared) })?;
        // SAFETY: likewise.
        let bell = unsafe { EventFd::from_owned_fd(OwnedFd::from_raw_fd(self.bell)) };
        let plan = Plan { mechanism: Mechanism::Vfork, order: self.order, on_death: self.on_death };
        Bomb::new(plan, &shared, &bell, self.generation)?.live(self.generation, self.parent)
    }
}

/// How a bomb grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) mechanism: Mechanism,
    pub(super) order: Order,
    pub(super) on_death: OnDeath,
}

impl Plan {
    /// How many children a member makes before it leaves the rest to them.
    fn quota(self) -> u64 {
        match self.order {
            Order::BreadthFirst => u64::MAX,
            Order::DepthFirst => 1,
        }
    }

    /// Whether a vforked child of this generation's processes goes on in their
    /// memory. It holds its parent up then, which a chain can afford and a
    /// tree cannot; nor can the process that has to end the bomb.
    fn child_of(self, generation: u32) -> Child {
        match (self.mechanism, self.order, generation) {
            (Mechanism::Fork | Mechanism::Clone3, ..) => Child::Copies,
            (Mechanism::Thread, ..) => Child::Shares,
            (Mechanism::Vfork, _, 0) | (Mechanism::Vfork, Order::BreadthFirst, _) => {
                Child::Executes
            }
            (Mechanism::Vfork, Order::DepthFirst, _) => Child::Borrows,
        }
    }
}

/// Where a child gets its memory from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    /// It has a copy of its parent's.
    Copies,
    /// It uses its parent's beside it.
    Shares,
    /// It uses its parent's while that stands still.
    Borrows,
    /// It executes the program again, and so gets its own.
    Executes,
}

/// Who comes back from an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The member that attacked, with nothing left to do.
    Same,
    /// A child that the attack made.
    Newborn,
}

/// A bomb as one of its processes sees it.
pub(super) struct Bomb<'a> {
    pub(super) plan: Plan,
    pub(super) shared: &'a Shared,
    bell: i32,
    child: Child,
    stacks: Option<Stacks>,
    again: Option<Again>,
}

impl<'a> Bomb<'a> {
    /// The bomb for a process of this generation.
    pub(super) fn new(
        plan: Plan,
        shared: &'a Shared,
        bell: &EventFd,
        generation: u32,
    ) -> Result<Self, Failure> {
        let child = plan.child_of(generation);
        let stacks = match child {
            Child::Copies => None,
            Child::Executes => Some(1),
            // A borrowing chain has one task for each generation.
            Child::Borrows => Some(shared.most_alive() + 1),
            // Each thread has a stack, and has taken one for its next child.
            Child::Shares => Some(2 * shared.most_alive() + 2),
        };
        let member = Member {
            shared: shared.descriptor(),
            bell: bell.as_raw_fd(),
            order: plan.order,
            on_death: plan.on_death,
            generation: generation + 1,
            parent: raw::own_pid(),
        };
        Ok(Self {
            plan,
            shared,
            bell: bell.as_raw_fd(),
            child,
            stacks: stacks.map(Stacks::new).transpose()?,
            again: (child == Child::Executes).then(|| Again::new(member.to_args())),
        })
    }

    /// Forks, looks after children, and never comes back.
    pub(super) fn live(&self, mut generation: u32, mut parent: Pid) -> ! {
        loop {
            if self.child != Child::Shares {
                raw::die_with(parent);
            }
            self.shared.note_generation(generation);
            let own_pid = raw::own_pid();
            let mut who = self.attack(generation, self.plan.quota(), &mut |_| {});
            while who == Who::Same {
                self.bury_a_child();
                if self.plan.on_death == OnDeath::Respawn {
                    self.shared.wake_up();
                    who = self.attack(generation, 1, &mut |_| {});
                }
            }
            (generation, parent) = (generation + 1, own_pid);
        }
    }

    /// Makes up to `quota` children of a member that counts as busy, telling
    /// `made` of each, and counts it as busy no longer.
    pub(super) fn attack(&self, generation: u32, quota: u64, made: &mut dyn FnMut(Pid)) -> Who {
        let mut children = 0;
        let mut stack = self.stack_for(generation + 1);
        while children < quota
            && let Some(top) = stack
            && self.shared.take_attempt() == Attempt::Granted
        {
            match self.spawn(generation, top) {
                Ok(Side::Child) => return Who::Newborn,
                Ok(Side::Parent(pid)) => {
                    children += 1;
                    made(pid);
                    stack = self.stack_for(generation + 1);
                }
                Err(_) if self.plan.on_death == OnDeath::Respawn => break,
                Err(_) => {}
            }
        }
        // A child that borrowed this memory has rested in its parent's name.
        if self.child != Child::Borrows || children == 0 {
            self.rest();
        }
        Who::Same
    }

    /// The top of a stack for a child of this generation, null if it needs none;
    /// `None` when the stacks are used up, and with them the bomb's room.
    fn stack_for(&self, generation: u32) -> Option<*mut u8> {
        match (&self.stacks, self.child) {
            (None, _) => Some(std::ptr::null_mut()),
            (Some(stacks), Child::Shares) => stacks.next(),
            (Some(stacks), Child::Borrows) => stacks.nth(generation as usize),
            (Some(stacks), _) => stacks.nth(0),
        }
    }

    fn spawn(&self, generation: u32, stack: *mut u8) -> Result<Side, Errno> {
        // The child counts as busy from the start, lest the bomb be thought to
        // rest while it is being made.
        self.shared.wake_up();
        let birth = Birth { bomb: self, generation: generation + 1, parent: raw::own_pid() };
        // SAFETY: a child runs `live` or `be_born` and never returns from them.
        // Those neither allocate nor lock nor use thread-local storage. The
        // stack is one that no living task uses.
        let outcome = unsafe {
            match self.plan.mechanism {
                Mechanism::Fork => raw::fork(),
                Mechanism::Clone3 => raw::clone3(),
                Mechanism::Vfork => raw::vfork(stack, be_born, birth).map(Side::Parent),
                Mechanism::Thread => raw::thread(stack, be_born, birth, None).map(Side::Parent),
            }
        };
        match outcome {
            Ok(Side::Child) => {}
            // It has said so itself, before its parent went on.
            Ok(Side::Parent(_)) if self.plan.mechanism == Mechanism::Vfork => {}
            Ok(Side::Parent(_)) => self.shared.note(Event::Started),
            Err(errno) => {
                self.shared.note(Event::Refused(errno));
                self.rest();
            }
        }
        outcome
    }

    fn rest(&self) {
        if self.shared.rest() == Rest::Last {
            raw::ring(self.bell);
        }
    }

    /// Waits for the death of a child and reaps it. Threads have no children,
    /// they wait for the bomb's end.
    fn bury_a_child(&self) {
        if self.child == Child::Shares {
            self.shared.wait_until_over();
            self.shared.note(Event::Gone);
            raw::ring(self.bell);
            raw::exit()
        }
        match raw::wait_for_child(Patience::Endless) {
            Ok(Some(pid)) => {
                self.shared.note(Event::Gone);
                // Nobody else could have reaped it.
                let _ = raw::reap(pid);
            }
            _ => raw::pause(),
        }
    }
}

/// What a task with a stack of its own has to know.
struct Birth<'a> {
    bomb: &'a Bomb<'a>,
    generation: u32,
    parent: Pid,
}

unsafe extern "C" fn be_born(birth: &Birth<'_>) -> ! {
    let bomb = birth.bomb;
    match (bomb.child, &bomb.again) {
        (Child::Executes, Some(again)) => {
            bomb.shared.note(Event::Started);
            bomb.shared.break_off(again.execute());
            bomb.rest();
            raw::exit()
        }
        (Child::Borrows, _) => {
            bomb.shared.note(Event::Started);
            // In the parent's name, which stands still from now on.
            bomb.rest();
        }
        _ => {}
    }
    bomb.live(birth.generation, birth.parent)
}

/// The program again, as a member. All that executing it takes is at hand
/// beforehand: a vforked child must not allocate.
struct Again {
    pointers: Vec<*const i8>,
    _strings: Vec<CString>,
}

impl Again {
    fn new(args: Vec<OsString>) -> Self {
        let strings: Vec<CString> = std::iter::once(crate::BINARY.into())
            .chain(args)
            .filter_map(|it| CString::new(it.into_vec()).ok())
            .collect();
        let pointers = strings.iter().map(|it| it.as_ptr()).chain([null()]).collect();
        Self { pointers, _strings: strings }
    }

    fn execute(&self) -> Errno {
        // SAFETY: C strings, and a list of them that ends with null.
        unsafe { raw::execute(c"/proc/self/exe".as_ptr(), self.pointers.as_ptr()) }
    }
}

/// Stacks for tasks that use this process's memory.
struct Stacks {
    memory: Mapping,
    taken: AtomicUsize,
}

impl Stacks {
    fn new(count: usize) -> Result<Self, Failure> {
        let bytes = NonZeroUsize::new(count * STACK_BYTES)
            .ok_or_else(|| Failure::system("mapping stacks", Errno::EINVAL))?;
        let memory = Mapping::private(bytes)?.in_small_pages();
        Ok(Self { memory, taken: AtomicUsize::new(0) })
    }

    /// The top of a stack that nobody was given before.
    fn next(&self) -> Option<*mut u8> {
        self.nth(self.taken.fetch_add(1, Ordering::Relaxed))
    }

    /// The top of the stack with this number.
    fn nth(&self, number: usize) -> Option<*mut u8> {
        let end = (number + 1) * STACK_BYTES;
        // SAFETY: not beyond the end of the mapping.
        (end <= self.memory.bytes()).then(|| unsafe { self.memory.start().as_ptr().add(end) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_do_not_overlap_and_run_out() {
        let stacks = Stacks::new(3).unwrap();
        let tops: Vec<usize> = std::iter::from_fn(|| stacks.next()).map(|it| it as usize).collect();
        let start = stacks.memory.start().as_ptr() as usize;
        assert_eq!(tops, [1, 2, 3].map(|n| start + n * STACK_BYTES));
        assert_eq!(stacks.nth(3), None);
    }
}
