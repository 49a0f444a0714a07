//! The kernels that cellvisor is built and tested with, as data.

use super::super::apt::{BACKPORTS, CODENAME};
use serde::Deserialize;

/// What a kernel is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// It loads the monitor, and boots in cells: image, modules, and headers for
    /// the driver.
    Root,
    /// It boots in cells: image and modules.
    Cell,
}

/// When a kernel is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// By every set-up; it fails without it.
    Always,
    /// By every set-up, if the mirror has it.
    Offered,
    /// When somebody asks for it: `cargo xtask test --kernels`.
    Asked,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    name: &'static str,
    /// Debian's suites; the newest kernel of them is taken.
    suites: &'static [&'static str],
    /// What stands before the architecture in the package's name: nothing,
    /// `cloud-`, `rt-`.
    flavour: &'static str,
    role: Role,
    need: Need,
}

const fn row(
    name: &'static str,
    suites: &'static [&'static str],
    flavour: &'static str,
    role: Role,
    need: Need,
) -> Row {
    Row {
        name,
        suites,
        flavour,
        role,
        need,
    }
}

/// Where the newest kernels are.
const NEWEST: &[&str] = &["trixie-backports", "sid"];

#[rustfmt::skip]
static TABLE: &[Row] = &[
    row("5.10",         &["bullseye"], "",       Role::Cell, Need::Asked),
    row("6.1",          &[CODENAME],   "",       Role::Root, Need::Always),
    row("6.12",         &[BACKPORTS],  "",       Role::Root, Need::Always),
    row("6.12-cloud",   &[BACKPORTS],  "cloud-", Role::Cell, Need::Offered),
    row("6.12-rt",      &[BACKPORTS],  "rt-",    Role::Cell, Need::Asked),
    row("newest",       NEWEST,        "",       Role::Root, Need::Offered),
    row("newest-cloud", NEWEST,        "cloud-", Role::Cell, Need::Asked),
    row("newest-rt",    NEWEST,        "rt-",    Role::Cell, Need::Asked),
];

/// A kernel of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Kernel(&'static Row);

impl Kernel {
    /// The one that roots run unless a scenario says otherwise.
    pub(crate) const STANDARD: Self = Self(&TABLE[2]);

    /// The one of Debian's release, whose headers want its own compiler.
    pub(crate) const OF_THE_RELEASE: Self = Self(&TABLE[1]);

    /// All of them, oldest first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(Self)
    }

    /// Those that load the monitor.
    pub(crate) fn roots() -> impl Iterator<Item = Self> {
        Self::all().filter(|kernel| kernel.role() == Role::Root)
    }

    /// Its name in scenarios: the version, or `newest`, and the flavour.
    pub(crate) const fn name(self) -> &'static str {
        self.0.name
    }

    /// Where the mirror has it.
    pub(crate) const fn suites(self) -> &'static [&'static str] {
        self.0.suites
    }

    /// What it is used as.
    pub(crate) const fn role(self) -> Role {
        self.0.role
    }

    /// When it is fetched.
    pub(crate) const fn need(self) -> Need {
        self.0.need
    }

    /// The package that depends on the newest one of its kind.
    pub(crate) fn package(self) -> String {
        format!("linux-image-{}amd64", self.0.flavour)
    }
}

impl TryFrom<String> for Kernel {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let found = Self::all().find(|kernel| kernel.name() == name);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::all().map(Self::name).collect();
            format!("no kernel is named {name}: there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for kernel in Kernel::all() {
            assert_eq!(Kernel::try_from(kernel.name().to_owned()), Ok(kernel));
        }
        assert_eq!(Kernel::STANDARD.name(), "6.12");
        assert_eq!(Kernel::OF_THE_RELEASE.suites(), [CODENAME]);
        let wrong = Kernel::try_from("6.13".to_owned());
        assert!(
            wrong
                .as_ref()
                .is_err_and(|why| why.contains("6.13") && why.contains("6.12-rt")),
            "{wrong:?}"
        );
    }

    #[test]
    fn an_ordinary_run_fetches_one_kernel_that_only_boots_in_cells() {
        let fetched = Kernel::all().filter(|kernel| kernel.need() != Need::Asked);
        let of_cells = fetched.filter(|kernel| kernel.role() == Role::Cell);
        assert_eq!(
            of_cells.map(Kernel::name).collect::<Vec<_>>(),
            ["6.12-cloud"]
        );
    }
}
