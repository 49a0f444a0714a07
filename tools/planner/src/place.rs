//! Which of several machines takes which slice: the first one on which it fits, in
//! the order of the machines. Pure, and for planning only: the machine itself plans
//! again when the slice is created there.

use crate::config::Slice;
use crate::host::Host;
use crate::plan::{self, Plan, Taken};
use crate::report::{Finding, Report};
use serde::Serialize;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Placement {
    /// All machines, in the order in which they were given.
    pub machines: Vec<Machine>,
    /// Slices that no machine takes.
    pub unplaced: Vec<Unplaced>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// What it takes, and what is left.
    pub plan: Plan,
}

/// Slices that belong together and fit nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unplaced {
    /// Their names.
    pub slices: Vec<String>,
    /// What each machine has against them.
    pub refusals: Vec<Refusal>,
}

/// What one machine has against slices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Refusal {
    /// The machine's name.
    pub machine: String,
    /// The findings.
    pub findings: Report,
}

/// Places slices, each on the first machine that has room for it beside those that
/// were placed before. Slices that share a link go to one machine.
///
/// # Errors
///
/// Two machines have one name: what is told of them would fit either.
pub fn first_fit(hosts: &[Host], slices: &[Slice]) -> Result<Placement, Report> {
    distinct(hosts)?;
    let mut here: Vec<Vec<Slice>> = vec![Vec::new(); hosts.len()];
    let mut plans: Vec<Option<Plan>> = vec![None; hosts.len()];
    let mut unplaced = Vec::new();
    for group in groups(slices) {
        let mut refusals = Vec::new();
        for (at, host) in hosts.iter().enumerate() {
            let mut all = here[at].clone();
            all.extend(group.iter().map(|slice| (*slice).clone()));
            match takes(host, &all) {
                Ok(plan) => {
                    here[at] = all;
                    plans[at] = Some(plan);
                    refusals.clear();
                    break;
                }
                Err(findings) => refusals.push(Refusal {
                    machine: host.name.clone(),
                    findings,
                }),
            }
        }
        if !refusals.is_empty() {
            unplaced.push(Unplaced {
                slices: group.iter().map(|slice| slice.name.clone()).collect(),
                refusals,
            });
        }
    }
    let plan = |(host, plan): (&Host, Option<Plan>)| Machine {
        name: host.name.clone(),
        // Nothing was asked of it: all of it is left.
        plan: plan.unwrap_or_else(|| plan::attempt(host, &[], &Taken::default()).0),
    };
    Ok(Placement {
        machines: hosts.iter().zip(plans).map(plan).collect(),
        unplaced,
    })
}

fn distinct(hosts: &[Host]) -> Result<(), Report> {
    let mut report = Report::default();
    for (at, host) in hosts.iter().enumerate() {
        if hosts.iter().take(at).any(|other| other.name == host.name) {
            let finding = Finding::error(format!("two machines are called `{}`", host.name))
                .because("nobody could tell which of them a slice is placed on")
                .help("give each saved host a `name` of its own, and name each file once");
            report.push(finding);
        }
    }
    report.unless_errors(())
}

/// The plan of a machine for these slices.
fn takes(host: &Host, slices: &[Slice]) -> Result<Plan, Report> {
    if host.virtualization.is_empty() {
        let finding = Finding::error(format!("machine `{}` cannot have cells", host.name))
            .because("its CPUs offer neither VT-x nor AMD-V")
            .help("switch virtualization on in its firmware, and save the host again");
        return Err(Report {
            findings: vec![finding],
        });
    }
    plan::plan(host, slices, &Taken::default())
}

/// Slices that share links, directly or by others, in the order of their first ones.
fn groups(slices: &[Slice]) -> Vec<Vec<&Slice>> {
    let mut groups: Vec<Vec<&Slice>> = Vec::new();
    for slice in slices {
        let linked = |group: &Vec<&Slice>| group.iter().any(|other| share(slice, other));
        let (mine, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(linked);
        groups = others;
        let first = mine.first().and_then(|group| group.first()).copied();
        let mut merged: Vec<&Slice> = mine.into_iter().flatten().collect();
        merged.push(slice);
        // Groups stay in the order of their first slices.
        let place = |slice: &Slice| slices.iter().position(|s| s.name == slice.name);
        let at = place(first.unwrap_or(slice));
        let before = |group: &Vec<&Slice>| group.first().is_some_and(|s| place(s) < at);
        groups.insert(groups.iter().take_while(|g| before(g)).count(), merged);
    }
    groups
}

fn share(one: &Slice, other: &Slice) -> bool {
    let names = |slice: &Slice| -> Vec<String> {
        let links = slice.links.iter();
        links.map(|wish| wish.link.name.clone()).collect()
    };
    let theirs = names(other);
    names(one).iter().any(|name| theirs.contains(name))
}
