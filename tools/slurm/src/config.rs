//! `/etc/cellvisor/slurm.toml`: machines, and what a node's cell is made from.
//!
//! The same file is on the controller and on all machines, as `slurm.conf` is. The
//! controller reads from it who has a node; each machine, what it may make.

use crate::error::{Error, Result};
use crate::hostlist::expand;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the file is, unless `CELLVISOR_SLURM_CONFIG` names another.
pub(crate) const FILE: &str = "/etc/cellvisor/slurm.toml";

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    version: u32,
    log: Option<PathBuf>,
    #[serde(default, rename = "machine")]
    machines: Vec<RawMachine>,
    #[serde(default, rename = "template")]
    templates: Vec<RawTemplate>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawMachine {
    name: String,
    nodes: String,
    ssh: Option<String>,
    #[serde(default)]
    local: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawTemplate {
    slice: PathBuf,
    nodes: Option<String>,
    partition: Option<String>,
}

/// How the controller reaches a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is this one.
    Local,
    /// By SSH to this destination, where a forced command answers.
    Ssh(String),
}

/// A machine that has cells for Slurm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) way: Way,
}

/// What cells of some nodes are made from.
#[derive(Clone, Debug)]
struct Template {
    slice: PathBuf,
    /// All nodes, without it.
    nodes: Option<Vec<String>>,
    /// Jobs of all partitions, without it.
    partition: Option<String>,
}

/// What the file says, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// What is done is told at its end.
    pub(crate) log: Option<PathBuf>,
    pub(crate) machines: Vec<Machine>,
    /// The machine of each node, by its place in `machines`.
    nodes: BTreeMap<String, usize>,
    templates: Vec<Template>,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has a mistake.
    pub(crate) fn load() -> Result<Self> {
        let path = std::env::var_os("CELLVISOR_SLURM_CONFIG").unwrap_or_else(|| FILE.into());
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            let help = "see cellvisor-slurm(8) for what is in it; every machine has it, and Slurm's user may read it";
            Error::new(format!("cannot read {}", path.display()), e.to_string(), help)
        })?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("/"))).map_err(|e| e.of(&path))
    }

    /// Checks the text of a file that is in the folder `at`.
    pub(crate) fn parse(text: &str, at: &Path) -> Result<Self> {
        let raw: Raw = toml::from_str(text).map_err(|e| {
            let help = "write it as in cellvisor-slurm(8)";
            Error::new("mistake in the file", e.to_string().trim_end(), help)
        })?;
        if raw.version != 1 {
            let why = format!("this is version {}", raw.version);
            return Err(Error::new("version", why, "write version = 1"));
        }
        let mut nodes = BTreeMap::new();
        let mut machines: Vec<Machine> = Vec::new();
        for raw in &raw.machines {
            let machine = machine(raw, &machines)?;
            for node in list(&format!("nodes of machine \"{}\"", raw.name), &raw.nodes)? {
                if let Some(other) = nodes.insert(node.clone(), machines.len()) {
                    let other = machines.get(other).unwrap_or(&machine);
                    return Err(Error::new(
                        format!("nodes of machine \"{}\"", raw.name),
                        format!("node {node} is already on machine \"{}\"", other.name),
                        "a node is on one machine, once",
                    ));
                }
            }
            machines.push(machine);
        }
        let templates = raw.templates.iter().map(|raw| template(raw, at));
        let config = Self {
            log: raw.log,
            machines,
            nodes,
            templates: templates.collect::<Result<_>>()?,
        };
        config.all_have_templates()?;
        Ok(config)
    }

    /// The machine that has this node.
    pub(crate) fn machine_of(&self, node: &str) -> Result<&Machine> {
        let place = self.nodes.get(node);
        place
            .and_then(|place| self.machines.get(*place))
            .ok_or_else(|| {
                Error::new(
                    format!("node {node}"),
                    "no machine has it",
                    "name it among the `nodes` of a [[machine]]",
                )
            })
    }

    /// The slice file that a node's cell is made from, for a job of this partition: the
    /// first that fits.
    pub(crate) fn template(&self, node: &str, partition: Option<&str>) -> Result<&Path> {
        let fits = |template: &&Template| {
            template.takes(node)
                && (template.partition.is_none() || template.partition.as_deref() == partition)
        };
        let found = self.templates.iter().find(fits).map(|found| &*found.slice);
        found.ok_or_else(|| {
            let partition = partition.unwrap_or("that is not known");
            Error::new(
                format!("node {node}"),
                format!("no [[template]] is for it and the partition {partition}"),
                "write one, or take `partition` off one that has the node",
            )
        })
    }

    /// The nodes of a machine, in the order of their names.
    pub(crate) fn nodes_of(&self, machine: &str) -> Result<Vec<&str>> {
        let place = self.machines.iter().position(|known| known.name == machine);
        let place = place.ok_or_else(|| {
            let known: Vec<_> = self.machines.iter().map(|known| &*known.name).collect();
            let why = format!("slurm.toml has none of this name: {}", known.join(", "));
            let help = "write this machine's name as slurm.toml has it";
            Error::new(format!("machine \"{machine}\""), why, help)
        })?;
        let nodes = self.nodes.iter().filter(|(_, at)| **at == place);
        Ok(nodes.map(|(node, _)| &**node).collect())
    }

    /// The first slice file that a node's cell can be made from, whatever the partition.
    pub(crate) fn usual_template(&self, node: &str) -> Result<&Path> {
        let found = self.templates.iter().find(|template| template.takes(node));
        found
            .map(|found| &*found.slice)
            .map_or_else(|| self.template(node, None), Ok)
    }

    fn all_have_templates(&self) -> Result<()> {
        let all = |node: &&String| !self.templates.iter().any(|template| template.takes(node));
        match self.nodes.keys().find(all) {
            Some(node) => Err(Error::new(
                format!("node {node}"),
                "no [[template]] is for it",
                "write one with this node among its `nodes`, or without `nodes` for all",
            )),
            None => Ok(()),
        }
    }
}

impl Template {
    fn takes(&self, node: &str) -> bool {
        let named = |nodes: &Vec<String>| nodes.iter().any(|name| name == node);
        self.nodes.as_ref().is_none_or(named)
    }
}

fn machine(raw: &RawMachine, others: &[Machine]) -> Result<Machine> {
    let what = format!("machine \"{}\"", raw.name);
    if others.iter().any(|other| other.name == raw.name) {
        return Err(Error::new(
            what,
            "it is there twice",
            "give each a name of its own",
        ));
    }
    let way = match (&raw.ssh, raw.local) {
        (None, true) => Way::Local,
        // An option of ssh would run what it likes.
        (Some(to), false) if !to.is_empty() && !to.starts_with('-') => Way::Ssh(to.clone()),
        (Some(to), false) => {
            let why = format!("ssh = \"{to}\" is no destination");
            return Err(Error::new(what, why, "write ssh = \"root@HOST\""));
        }
        _ => {
            let why = "it wants one of `ssh` and `local`";
            let help = "write ssh = \"root@HOST\", or local = true for the controller itself";
            return Err(Error::new(what, why, help));
        }
    };
    Ok(Machine {
        name: raw.name.clone(),
        way,
    })
}

fn template(raw: &RawTemplate, at: &Path) -> Result<Template> {
    let what = format!("nodes of template {}", raw.slice.display());
    let nodes = raw.nodes.as_deref().map(|text| list(&what, text));
    Ok(Template {
        slice: at.join(&raw.slice),
        nodes: nodes.transpose()?,
        partition: raw.partition.clone(),
    })
}

fn list(what: &str, text: &str) -> Result<Vec<String>> {
    let help = "write hosts as slurm.conf does: n1,n2 or n[1-16]";
    expand(text).map_err(|why| Error::new(what, why.to_string(), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        version = 1
        [[machine]]
        name = "m1"
        local = true
        nodes = "n[1-2]"
        [[machine]]
        name = "m2"
        ssh = "root@m2"
        nodes = "n[3-4]"
        [[template]]
        slice = "big.toml"
        nodes = "n1"
        partition = "big"
        [[template]]
        slice = "/srv/n4.toml"
        nodes = "n4"
        [[template]]
        slice = "small.toml"
    "#;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text, Path::new("/etc/cellvisor"))
    }

    #[test]
    fn nodes_have_a_machine_and_the_first_template_that_fits() {
        let config = parse(GOOD).expect("good");
        assert_eq!(config.machine_of("n2").expect("m1").way, Way::Local);
        let m2 = config.machine_of("n3").expect("m2");
        assert_eq!(m2.way, Way::Ssh("root@m2".into()));
        let slice = |node, partition| config.template(node, partition).expect("one");
        assert_eq!(
            slice("n1", Some("big")),
            Path::new("/etc/cellvisor/big.toml")
        );
        assert_eq!(
            slice("n1", Some("all")),
            Path::new("/etc/cellvisor/small.toml")
        );
        assert_eq!(slice("n4", None), Path::new("/srv/n4.toml"));
        assert_eq!(
            config.machine_of("n9").expect_err("none").why,
            "no machine has it"
        );
    }

    /// What is said about `GOOD` with one thing replaced.
    fn told(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from));
        parse(&GOOD.replace(from, to)).expect_err("bad").to_string()
    }

    #[test]
    fn mistakes_are_told_with_place_cause_and_remedy() {
        assert_eq!(
            told("n[3-4]", "n[2-4]"),
            "nodes of machine \"m2\": node n2 is already on machine \"m1\"\n  help: a node is on one machine, once"
        );
        assert_eq!(
            told("local = true", ""),
            "machine \"m1\": it wants one of `ssh` and `local`\n  help: write ssh = \"root@HOST\", or local = true for the controller itself"
        );
        assert_eq!(
            told("root@m2", "-oProxyCommand=x"),
            "machine \"m2\": ssh = \"-oProxyCommand=x\" is no destination\n  help: write ssh = \"root@HOST\""
        );
        assert!(told("n[3-4]", "n[3-").starts_with("nodes of machine \"m2\": a bracket"));
        assert!(told("version = 1", "version = 2").contains("help: write version = 1"));
        assert!(
            told(
                "slice = \"small.toml\"",
                "slice = \"s.toml\"\nnodes = \"n1\""
            )
            .starts_with("node n2: no [[template]] is for it")
        );
        assert!(told("local = true", "locale = true").contains("unknown field `locale`"));
    }
}
