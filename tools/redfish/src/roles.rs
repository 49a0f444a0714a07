//! Roles and what they may, as Redfish predefines them.
//!
//! Spec: DSP0266 "Redfish service operations": privilege model and predefined roles.

use serde::Deserialize;

/// What an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// To look.
    Login,
    /// To change one's own session.
    ConfigureSelf,
    /// To change systems: their power.
    ConfigureComponents,
    /// To change the manager: others' sessions.
    ConfigureManager,
    /// To see and change accounts.
    ConfigureUsers,
}

impl Privilege {
    /// Its name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Login => "Login",
            Self::ConfigureSelf => "ConfigureSelf",
            Self::ConfigureComponents => "ConfigureComponents",
            Self::ConfigureManager => "ConfigureManager",
            Self::ConfigureUsers => "ConfigureUsers",
        }
    }
}

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Role {
    /// All of it.
    Administrator,
    /// To look, and to change systems.
    Operator,
    /// To look.
    ReadOnly,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Administrator, Self::Operator, Self::ReadOnly];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "Administrator",
            Self::Operator => "Operator",
            Self::ReadOnly => "ReadOnly",
        }
    }

    pub(crate) const fn privileges(self) -> &'static [Privilege] {
        use Privilege::*;
        match self {
            Self::Administrator => &[
                Login,
                ConfigureManager,
                ConfigureUsers,
                ConfigureComponents,
                ConfigureSelf,
            ],
            Self::Operator => &[Login, ConfigureComponents, ConfigureSelf],
            Self::ReadOnly => &[Login, ConfigureSelf],
        }
    }

    pub(crate) fn may(self, privilege: Privilege) -> bool {
        self.privileges().contains(&privilege)
    }
}
