//! What Slurm says, and what it is told.

use crate::error::{Error, Result};
use crate::hostlist::expand;
use crate::request::Job;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::process::Command;

/// For which job each node is resumed, as far as Slurm says it.
#[derive(Debug, Default)]
pub(crate) struct Jobs(BTreeMap<String, Job>);

/// `SLURM_RESUME_FILE`, as far as it is wanted here.
#[derive(Deserialize)]
struct ResumeFile {
    jobs: Vec<ResumeJob>,
}

#[derive(Deserialize)]
struct ResumeJob {
    job_id: u32,
    /// From 23.02 on.
    partition: Option<String>,
    /// 22.05 has another name for it.
    #[serde(alias = "nodes")]
    nodes_resume: Option<String>,
}

impl Jobs {
    /// From the file that Slurm names; empty without one, as then no job is waiting, or
    /// Slurm has no JSON.
    pub(crate) fn read() -> Self {
        let file = std::env::var_os("SLURM_RESUME_FILE");
        let text = file.and_then(|file| std::fs::read_to_string(file).ok());
        text.map_or_else(Self::default, |text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let jobs = serde_json::from_str::<ResumeFile>(text).map_or_else(|_| Vec::new(), |f| f.jobs);
        let mut all = BTreeMap::new();
        for job in jobs {
            let nodes = job.nodes_resume.as_deref().map(expand);
            for node in nodes.and_then(std::result::Result::ok).unwrap_or_default() {
                let (id, partition) = (Some(job.job_id), job.partition.clone());
                all.insert(node, Job { id, partition });
            }
        }
        Self(all)
    }

    /// The job that wants a node.
    pub(crate) fn of(&self, node: &str) -> Job {
        self.0.get(node).cloned().unwrap_or_default()
    }
}

/// What a node is that `scontrol` does not show: without `PrivateData=cloud` in slurm.conf
/// it passes over those of the cloud that are powered down.
pub(crate) const HIDDEN: &str = "POWERED_DOWN";

/// Each node's state, as `scontrol` writes it: `IDLE+CLOUD+POWERED_DOWN`.
///
/// # Errors
///
/// `scontrol` cannot be run, or fails.
pub(crate) fn states() -> Result<BTreeMap<String, String>> {
    Ok(parse_states(&scontrol(&["-o", "show", "nodes"])?))
}

fn parse_states(text: &str) -> BTreeMap<String, String> {
    let field = |line: &str, key: &str| {
        let mut words = line.split_whitespace();
        words.find_map(|word| word.strip_prefix(key).map(str::to_owned))
    };
    let nodes = text.lines();
    nodes
        .filter_map(|line| field(line, "NodeName=").zip(field(line, "State=")))
        .collect()
}

/// Whether a node in this state has no use for its cell.
pub(crate) fn is_over(state: &str) -> bool {
    let flags: Vec<&str> = state
        .split('+')
        .map(|flag| flag.trim_end_matches('*'))
        .collect();
    let has = |flag: &str| flags.contains(&flag);
    has("POWERED_DOWN") || has("POWERING_DOWN") || has("DOWN") && !has("POWERING_UP")
}

/// Sets a node DOWN for this reason.
///
/// # Errors
///
/// As [`states`].
pub(crate) fn down(node: &str, reason: &str) -> Result<()> {
    let words = [
        "update",
        &format!("nodename={node}"),
        "state=down",
        &format!("reason={reason}"),
    ];
    scontrol(&words).map(drop)
}

fn scontrol(words: &[&str]) -> Result<String> {
    let out = Command::new("scontrol").args(words).output().map_err(|e| {
        let help = "install slurm-client where slurmctld runs";
        Error::new("cannot run scontrol", e.to_string(), help)
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if out.status.success() {
        return Ok(text(&out.stdout));
    }
    let what = format!("scontrol {}", words.join(" "));
    Err(Error::new(what, text(&out.stderr), "run this as SlurmUser"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_the_jobs_that_resume_them() {
        let text = r#"{ "all_nodes_resume": "n[1-3]", "jobs": [
            { "extra": null, "features": "", "job_id": 5, "nodes_alloc": "n[1-2]",
              "nodes_resume": "n[1-2]", "oversubscribe": "OK", "partition": "cells" },
            { "job_id": 6, "nodes_resume": "n3", "partition": "big" } ] }"#;
        let jobs = Jobs::parse(text);
        assert_eq!(jobs.of("n2").id, Some(5));
        assert_eq!(jobs.of("n3").partition.as_deref(), Some("big"));
        assert_eq!(jobs.of("n4"), Job::default());
        // As 22.05.8 writes it.
        let old = r#"{"jobs":[{"job_id":1,"nodes":"n[1-2]"}],"all_nodes":"n[1-2]"}"#;
        assert_eq!(Jobs::parse(old).of("n2").id, Some(1));
        assert_eq!(Jobs::parse("no JSON").of("n1"), Job::default());
    }

    #[test]
    fn states_are_read_and_tell_what_is_over() {
        let text = "NodeName=n1 Arch=x86_64 CoresPerSocket=1 State=IDLE+CLOUD+POWERED_DOWN ThreadsPerCore=1\n\
            NodeName=n2 State=ALLOCATED+CLOUD Reason=State=DOWN";
        let states = parse_states(text);
        assert_eq!(states["n1"], "IDLE+CLOUD+POWERED_DOWN");
        assert_eq!(states["n2"], "ALLOCATED+CLOUD");
        assert!(is_over(&states["n1"]));
        assert!(!is_over(&states["n2"]));
        assert!(is_over("DOWN*+CLOUD"));
        assert!(!is_over("DOWN+CLOUD+POWERING_UP"));
        assert!(is_over("IDLE+CLOUD+POWERING_DOWN"));
        // 22.05.8, where all nodes are of the cloud and powered down.
        assert_eq!(parse_states("No nodes in the system").get("n1"), None);
        assert!(is_over(HIDDEN));
    }
}
