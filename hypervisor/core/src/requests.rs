//! What a CPU does with the requests of others, in each of its activities.

/// What a CPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Runs its owner's code.
    Running,
    /// Waits for a start-up IPI.
    WaitForSipi,
    /// Stopped by the monitor.
    Stopped,
}

impl Activity {
    /// As a number that zeroed memory reads as [`Self::Running`].
    pub const fn code(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::WaitForSipi => 1,
            Self::Stopped => 2,
        }
    }

    /// From [`Self::code`]; what is no code is [`Self::Stopped`].
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Running,
            1 => Self::WaitForSipi,
            _ => Self::Stopped,
        }
    }
}

/// Something that CPUs are asked for: a bit of the word that they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request(pub u32);

impl Request {
    /// Nothing: the CPU only looks up.
    pub const NONE: Self = Self(0);
}

/// Deliver an NMI to the guest.
pub const NMI: Request = Request(1 << 0);
/// INIT: forget the guest's state and wait for a start-up IPI.
pub const INIT: Request = Request(1 << 1);
/// Start-up IPI.
pub const SIPI: Request = Request(1 << 2);
/// Forget cached second-level translations.
pub const FLUSH: Request = Request(1 << 3);
/// Leave the guest for good and wait in the monitor.
pub const STOP: Request = Request(1 << 4);
/// Become the CPU of another owner.
pub const ASSIGN: Request = Request(1 << 5);
/// Start as the first CPU of the owner.
pub const BOOT: Request = Request(1 << 6);

/// Those that come from the owner's other CPUs.
const OF_OWNER: u32 = NMI.0 | INIT.0 | SIPI.0;

/// What the CPU carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Stop running the guest.
    Stop,
    /// Take the next owner, if there is such a cell, and wait for its start.
    Assign,
    /// Forget what the guest did and wait for a start-up IPI.
    WaitForSipi,
    /// Start where the start-up IPI says.
    StartUp,
    /// Start as the owner's first CPU, if its start is known.
    Boot,
    /// Forget cached translations.
    Flush,
    /// Let the guest have an NMI when it can take it.
    Nmi,
}

/// Requests that are being served. The order is fixed, so that a stop that comes
/// with others comes first. A CPU that changes its owner forgets what it was to do
/// for the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    left: u32,
    served: u32,
}

/// All requests, in the order in which they are served.
const ORDER: [Request; 7] = [STOP, ASSIGN, INIT, SIPI, BOOT, FLUSH, NMI];

impl Requests {
    /// From the bits that others have set.
    pub const fn new(bits: u32) -> Self {
        Self {
            left: bits,
            served: bits,
        }
    }

    /// The bits to clear when all is served. Interrupts that the last owner's CPUs
    /// sent while the CPU changed its owner are among them.
    pub const fn served(self) -> u32 {
        self.served
    }

    /// The next step for a CPU in this activity, which the steps before may have
    /// changed. Requests that mean nothing to it then are dropped. `None` when
    /// all is served.
    pub fn next(&mut self, activity: Activity) -> Option<Step> {
        for request in ORDER {
            if self.left & request.0 == 0 {
                continue;
            }
            self.left &= !request.0;
            if request == ASSIGN {
                self.left = 0;
                self.served |= OF_OWNER;
            }
            if let Some(step) = step(request, activity) {
                return Some(step);
            }
        }
        None
    }
}

/// What one request means in an activity; `None` for nothing.
const fn step(request: Request, activity: Activity) -> Option<Step> {
    match (request, activity) {
        (STOP, _) => Some(Step::Stop),
        (ASSIGN, _) => Some(Step::Assign),
        (FLUSH, _) => Some(Step::Flush),
        (INIT, Activity::Running | Activity::WaitForSipi) => Some(Step::WaitForSipi),
        (SIPI, Activity::WaitForSipi) => Some(Step::StartUp),
        (BOOT, Activity::WaitForSipi) => Some(Step::Boot),
        (NMI, Activity::Running) => Some(Step::Nmi),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const NMI: u32 = super::NMI.0;
    const INIT: u32 = super::INIT.0;
    const SIPI: u32 = super::SIPI.0;
    const FLUSH: u32 = super::FLUSH.0;
    const STOP: u32 = super::STOP.0;
    const ASSIGN: u32 = super::ASSIGN.0;
    const BOOT: u32 = super::BOOT.0;

    const ALL: [Activity; 3] = [Activity::Running, Activity::WaitForSipi, Activity::Stopped];

    /// The steps, with the activities that they lead to, if all succeed.
    fn serve(bits: u32, mut activity: Activity) -> (Vec<Step>, Activity) {
        let mut requests = Requests::new(bits);
        let mut steps = vec![];
        while let Some(step) = requests.next(activity) {
            activity = match step {
                Step::Stop => Activity::Stopped,
                Step::Assign | Step::WaitForSipi => Activity::WaitForSipi,
                Step::StartUp | Step::Boot => Activity::Running,
                Step::Flush | Step::Nmi => activity,
            };
            steps.push(step);
        }
        (steps, activity)
    }

    #[test]
    fn codes_round_trip_and_zeroed_memory_runs() {
        for activity in ALL {
            assert_eq!(Activity::from_code(activity.code()), activity);
        }
        assert_eq!(Activity::from_code(0), Activity::Running);
        assert_eq!(Activity::from_code(77), Activity::Stopped, "the safe one");
    }

    #[test]
    fn no_request_no_step() {
        for activity in ALL {
            assert_eq!(serve(0, activity), (vec![], activity));
        }
    }

    #[test]
    fn bits_that_are_no_request_mean_nothing() {
        assert_eq!(serve(1 << 7 | 1 << 31, Activity::Running).0, vec![]);
    }

    #[test]
    fn a_stop_is_obeyed_in_every_activity() {
        for activity in ALL {
            assert_eq!(serve(STOP, activity), (vec![Step::Stop], Activity::Stopped));
        }
    }

    #[test]
    fn a_stopped_cpu_is_started_by_no_signal() {
        let bits = INIT | SIPI | BOOT | NMI;
        assert_eq!(serve(bits, Activity::Stopped), (vec![], Activity::Stopped));
    }

    #[test]
    fn a_stop_beats_all_that_came_with_it() {
        let (steps, after) = serve(STOP | INIT | SIPI | BOOT | NMI, Activity::Running);
        assert_eq!((steps, after), (vec![Step::Stop], Activity::Stopped));
    }

    #[test]
    fn init_alone_waits() {
        for activity in [Activity::Running, Activity::WaitForSipi] {
            let want = (vec![Step::WaitForSipi], Activity::WaitForSipi);
            assert_eq!(serve(INIT, activity), want);
        }
    }

    #[test]
    fn init_and_start_up_that_arrive_together_start() {
        let want = (vec![Step::WaitForSipi, Step::StartUp], Activity::Running);
        assert_eq!(serve(INIT | SIPI, Activity::Running), want);
    }

    #[test]
    fn a_start_up_ipi_to_a_running_cpu_means_nothing() {
        assert_eq!(serve(SIPI, Activity::Running).0, vec![]);
    }

    #[test]
    fn the_second_start_up_ipi_of_a_pair_means_nothing() {
        let (_, after) = serve(SIPI, Activity::WaitForSipi);
        assert_eq!(serve(SIPI, after).0, vec![]);
    }

    #[test]
    fn a_cpu_boots_only_while_it_waits() {
        assert_eq!(serve(BOOT, Activity::Running).0, vec![]);
        let want = (vec![Step::Boot], Activity::Running);
        assert_eq!(serve(BOOT, Activity::WaitForSipi), want);
    }

    #[test]
    fn a_start_up_ipi_beats_a_boot() {
        let want = (vec![Step::StartUp], Activity::Running);
        assert_eq!(serve(SIPI | BOOT, Activity::WaitForSipi), want);
    }

    #[test]
    fn a_cpu_may_be_stopped_and_assigned_at_once() {
        let want = (vec![Step::Stop, Step::Assign], Activity::WaitForSipi);
        assert_eq!(serve(STOP | ASSIGN, Activity::Running), want);
    }

    #[test]
    fn a_new_owner_gets_nothing_that_was_for_the_last() {
        let all = INIT | SIPI | BOOT | FLUSH | NMI;
        let want = (vec![Step::Assign], Activity::WaitForSipi);
        assert_eq!(serve(ASSIGN | all, Activity::Stopped), want);
    }

    #[test]
    fn what_the_last_owner_sends_meanwhile_is_cleared() {
        let mut requests = Requests::new(ASSIGN);
        assert_eq!(requests.next(Activity::Stopped), Some(Step::Assign));
        assert_eq!(requests.served(), ASSIGN | NMI | INIT | SIPI);
    }

    #[test]
    fn without_a_new_owner_only_what_was_seen_is_cleared() {
        let mut requests = Requests::new(FLUSH | NMI);
        while requests.next(Activity::Running).is_some() {}
        assert_eq!(requests.served(), FLUSH | NMI);
    }

    #[test]
    fn translations_are_forgotten_in_every_activity() {
        for activity in ALL {
            assert_eq!(serve(FLUSH, activity), (vec![Step::Flush], activity));
        }
    }

    #[test]
    fn an_nmi_reaches_only_a_running_guest() {
        for activity in ALL {
            let got = !serve(NMI, activity).0.is_empty();
            assert_eq!(got, activity == Activity::Running);
        }
    }

    #[test]
    fn an_nmi_with_a_start_reaches_the_guest_that_starts() {
        let (steps, _) = serve(SIPI | NMI, Activity::WaitForSipi);
        assert_eq!(steps, vec![Step::StartUp, Step::Nmi]);
    }

    #[test]
    fn every_set_of_requests_is_served_once_and_ends() {
        for bits in 0..1 << ORDER.len() {
            for activity in ALL {
                let (steps, after) = serve(bits, activity);
                assert!(steps.len() <= bits.count_ones() as usize);
                let unique: std::collections::HashSet<_> = steps.iter().collect();
                assert_eq!(unique.len(), steps.len(), "{bits:#b}");
                if bits & (STOP | ASSIGN) == STOP {
                    assert_eq!(after, Activity::Stopped, "{bits:#b}");
                }
                if activity == Activity::Stopped && bits & ASSIGN == 0 {
                    assert_eq!(after, Activity::Stopped, "{bits:#b}");
                }
            }
        }
    }
}
