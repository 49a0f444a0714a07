//! Cells as `cellctl` tells of them.

use serde::Deserialize;

/// A system: a cell, or a slice of this machine that has no cell now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct System {
    pub(crate) name: String,
    /// What `cellctl list` says.
    pub(crate) cell: Option<Cell>,
}

/// One cell of `cellctl list --json`, as far as it is wanted here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) state: String,
    /// Linux's numbers, in the order in which the cell has them.
    pub(crate) cpus: Vec<u32>,
    /// Bytes.
    pub(crate) memory: u64,
    record: Option<Record>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Record {
    #[serde(default)]
    stopping: bool,
    #[serde(default)]
    functions: Vec<Function>,
    #[serde(default)]
    assignment: Assignment,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Function {
    kind: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Assignment {
    #[serde(default)]
    functions: Vec<Assigned>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Assigned {
    address: String,
    mac: Option<String>,
    vlan: Option<u16>,
}

/// A network function of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nic {
    /// Its address on the machine, which is its id.
    pub(crate) address: String,
    /// What it is, in a word or two.
    pub(crate) kind: String,
    pub(crate) mac: Option<String>,
    pub(crate) vlan: Option<u16>,
}

impl System {
    /// True while its CPUs run.
    pub(crate) fn is_on(&self) -> bool {
        self.cell
            .as_ref()
            .is_some_and(|cell| cell.state == "running")
    }

    /// `PowerState` of its resource.
    pub(crate) fn power(&self) -> &'static str {
        let stops = |cell: &Cell| cell.record.as_ref().is_some_and(|record| record.stopping);
        match self.is_on() {
            true if self.cell.as_ref().is_some_and(stops) => "PoweringOff",
            true => "On",
            false => "Off",
        }
    }

    /// `Status.Health`: what ended by its own fault is critical until it is started again.
    pub(crate) fn health(&self) -> &'static str {
        match self.cell.as_ref().map(|cell| &*cell.state) {
            Some("failed" | "panicked" | "unreadable") => "Critical",
            Some("left-over") => "Warning",
            _ => "OK",
        }
    }
}

impl Cell {
    /// Its network functions.
    pub(crate) fn nics(&self) -> Vec<Nic> {
        let Some(record) = &self.record else {
            return Vec::new();
        };
        let both = record.functions.iter().zip(&record.assignment.functions);
        let nics = both.filter(|(function, _)| function.kind.starts_with("network"));
        nics.map(|(function, assigned)| Nic {
            // A path's segment: 0000:02:00.0 has colons, which some clients escape.
            address: assigned.address.replace([':', '.'], "-"),
            kind: function.kind.clone(),
            mac: assigned.mac.clone(),
            vlan: assigned.vlan,
        })
        .collect()
    }
}

/// Names of cells and slices.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_".contains(&c);
    (1..=32).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(json: &str) -> System {
        let cell: Cell = serde_json::from_str(json).expect("a cell");
        System {
            name: cell.name.clone(),
            cell: Some(cell),
        }
    }

    #[test]
    fn states_are_power_and_health() {
        for (state, power, health) in [
            ("running", "On", "OK"),
            ("loadable", "Off", "OK"),
            ("stopped", "Off", "OK"),
            ("powered-off", "Off", "OK"),
            ("panicked", "Off", "Critical"),
            ("failed", "Off", "Critical"),
            ("left-over", "Off", "Warning"),
        ] {
            let json = format!(r#"{{"name":"a","state":"{state}","cpus":[2],"memory":1}}"#);
            let system = cell(&json);
            assert_eq!(
                (system.power(), system.health()),
                (power, health),
                "{state}"
            );
        }
    }

    #[test]
    fn a_cell_that_is_being_stopped_says_so_while_it_runs() {
        let json = |state: &str| {
            format!(
                r#"{{"name":"a","state":"{state}","cpus":[],"memory":0,"record":{{"stopping":true}}}}"#
            )
        };
        assert_eq!(cell(&json("running")).power(), "PoweringOff");
        assert_eq!(cell(&json("stopped")).power(), "Off");
    }

    #[test]
    fn network_functions_are_told_from_others() {
        let system = cell(
            r#"{"name":"a","state":"running","cpus":[1],"memory":1,"more":1,"record":{
            "functions":[{"kind":"NVMe VF 1 of x"},{"kind":"network VF 2 of y","silent":null}],
            "assignment":{"functions":[{"address":"0000:03:00.1","mac":null,"vlan":null},
            {"address":"0000:02:10.2","mac":"02:00:00:00:00:01","vlan":7}]}}}"#,
        );
        let nics = system.cell.expect("a cell").nics();
        assert_eq!(nics.len(), 1);
        assert_eq!((&*nics[0].address, nics[0].vlan), ("0000-02-10-2", Some(7)));
    }
}
