//! Parts of the monitor that an image may be built without.

use crate::plan::{CellPlan, Class};
use crate::wire::wire;

wire! {
    /// Some of them, a bit each.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Parts(pub u32);
}

impl Parts {
    /// None.
    pub const NONE: Self = Self(0);
    /// Adapters that the monitor plays: networks between cells, doorbells of windows, and
    /// consoles that take lines.
    pub const ADAPTERS: Self = Self(1);
    /// Extended Sockets.
    pub const SOCKETS: Self = Self(1 << 1);
    /// Classes of service: shares of the L3 cache and of memory bandwidth.
    pub const CLASSES: Self = Self(1 << 2);
    /// What a root asks of a KVM around the machine.
    pub const KVM: Self = Self(1 << 3);

    /// Each with its name, which is that of the feature it is built by.
    pub const NAMES: [(Self, &str); 4] = [
        (Self::ADAPTERS, "adapters"),
        (Self::SOCKETS, "sockets"),
        (Self::CLASSES, "classes"),
        (Self::KVM, "kvm"),
    ];

    /// These and others.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// True if all of these are among them.
    #[must_use]
    pub const fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Names of those that there are.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = Self::NAMES.into_iter();
        all.filter_map(move |(part, name)| self.has(part).then_some(name))
    }

    /// What a plan cannot do without.
    #[must_use]
    pub fn of(plan: &CellPlan<'_>) -> Self {
        let mut parts = Self::NONE;
        if plan.console || !plan.adapters.is_empty() {
            parts = parts.and(Self::ADAPTERS);
        }
        if plan.socket.is_some() {
            parts = parts.and(Self::SOCKETS);
        }
        if plan.class != Class::ROOT {
            parts = parts.and(Self::CLASSES);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Adapter, Devices, Socket};
    use crate::wire::ListBuf;
    use alloc::vec::Vec;

    fn plan(none: &ListBuf) -> CellPlan<'_> {
        CellPlan {
            name: b"web",
            cpus: none.list(),
            memory: none.list(),
            ports: none.list(),
            functions: none.list(),
            adapters: none.list(),
            console: false,
            socket: None,
            devices: Devices::STANDARD,
            dump: true,
            many_nodes: true,
            class: Class::ROOT,
            link: None,
        }
    }

    #[test]
    fn a_plan_needs_the_parts_that_it_names_and_no_others() {
        let none = ListBuf::default();
        assert_eq!(Parts::of(&plan(&none)), Parts::NONE);
        let console = CellPlan {
            console: true,
            ..plan(&none)
        };
        assert_eq!(Parts::of(&console), Parts::ADAPTERS);
        let adapters = ListBuf::new(&[Adapter {
            link: [0; crate::plan::MAX_NAME],
            mac: [2; 6],
        }]);
        let network = CellPlan {
            adapters: adapters.list(),
            ..plan(&none)
        };
        assert_eq!(Parts::of(&network), Parts::ADAPTERS);
        let class = CellPlan {
            class: Class::new(1, 0, 50),
            ..plan(&none)
        };
        assert_eq!(Parts::of(&class), Parts::CLASSES);
        let both = CellPlan {
            socket: Some(Socket {
                memory: 0,
                number: 0,
                members: 2,
                gsi: 5,
            }),
            ..console
        };
        assert_eq!(Parts::of(&both), Parts::ADAPTERS.and(Parts::SOCKETS));
    }

    #[test]
    fn each_part_has_a_bit_and_a_name_of_its_own() {
        let all = Parts::NAMES.iter();
        let all = all.fold(Parts::NONE, |all, (part, _)| {
            assert!(!all.has(*part) && part.0.is_power_of_two());
            all.and(*part)
        });
        let names: Vec<_> = all.names().collect();
        assert_eq!(names, ["adapters", "sockets", "classes", "kvm"]);
        assert!(all.has(Parts::KVM) && !Parts::KVM.has(all));
        assert_eq!(Parts::KVM.names().collect::<Vec<_>>(), ["kvm"]);
    }
}
