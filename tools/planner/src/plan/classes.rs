//! Classes of service for slices that want a part of the L3 cache or less than all of
//! the memory bandwidth.
//!
//! A cell gets the lowest class and the lowest ways in a row that are free behind all
//! caches of its CPUs. Ways from above are the root's: there devices write, where the
//! hardware lets them.

use super::pool::Pool;
use super::{AssignedClass, AssignedCpu, CellAssignment};
use crate::config::Slice;
use crate::host::Classes;
use crate::words::{count, numbered};
use cellvisor_abi::plan::Class;
use cellvisor_core::classes::Shares;

const WAYS: &str = "cache.l3-ways";
const PERCENT: &str = "bandwidth.percent";

/// A class that a cell has, and where.
pub(super) struct Holder {
    name: String,
    ids: Vec<u32>,
    class: AssignedClass,
}

impl Holder {
    /// What a running cell has, if it has a class.
    pub(super) fn of(cell: &CellAssignment) -> Option<Self> {
        Some(Self {
            name: cell.name.clone(),
            ids: cell.cpus.iter().map(|cpu| cpu.apic_id).collect(),
            class: cell.class?,
        })
    }
}

impl AssignedClass {
    /// As the monitor wants it.
    #[must_use]
    pub const fn class(&self) -> Class {
        Class::new(self.number, self.l3_ways, self.delay)
    }

    /// Ways of the L3 cache that are the cell's own; none if it shares those of the root.
    pub fn ways(&self) -> impl Iterator<Item = u32> + use<> {
        bits(self.l3_ways)
    }

    /// Percent of the memory bandwidth that the cell can take.
    #[must_use]
    pub const fn percent(&self) -> u8 {
        100_u8.saturating_sub(self.delay)
    }

    /// What the cell has, in a few words.
    #[must_use]
    pub fn words(&self) -> String {
        let ways = (self.l3_ways != 0).then(|| format!("L3 {}", numbered("way", self.ways())));
        let limit = (self.delay != 0).then(|| format!("{} % of bandwidth", self.percent()));
        let words: Vec<String> = ways.into_iter().chain(limit).collect();
        words.join(", ")
    }
}

/// Finds a class for the slice, if it wants one.
pub(super) fn wish(
    pool: &mut Pool<'_>,
    slice: &Slice,
    cpus: &[AssignedCpu],
    why: &mut Vec<String>,
) -> Option<AssignedClass> {
    if slice.l3_ways.is_none() && slice.bandwidth.is_none() || cpus.is_empty() {
        return None;
    }
    let key = if slice.l3_ways.is_some() {
        WAYS
    } else {
        PERCENT
    };
    let found = machine(pool, slice)
        .and_then(|machine| Ok((machine, delay(&machine, slice)?)))
        .and_then(|(machine, delay)| Choice::new(pool, &machine, cpus).find(slice, delay));
    match found {
        Ok(class) => {
            why.extend(told(pool, slice, cpus, &class));
            pool.classes.push(Holder {
                name: slice.name.clone(),
                ids: cpus.iter().map(|cpu| cpu.apic_id).collect(),
                class,
            });
            Some(class)
        }
        Err(Refusal {
            cause,
            help,
            is_limit,
        }) => {
            let (key, what) = match is_limit {
                true => (PERCENT, "that limit of the memory bandwidth"),
                false if key == WAYS => (WAYS, "a part of the L3 cache like that"),
                false => (PERCENT, "a limit of its memory bandwidth"),
            };
            let message = format!("slice `{}` cannot have {what}", slice.name);
            pool.wrong(slice, key, message, cause, help);
            None
        }
    }
}

/// Why there is no class for a slice.
struct Refusal {
    cause: String,
    help: String,
    is_limit: bool,
}

fn refusal(cause: impl Into<String>, help: impl Into<String>) -> Refusal {
    Refusal {
        cause: cause.into(),
        help: help.into(),
        is_limit: false,
    }
}

/// What the machine has to share out.
fn machine(pool: &Pool<'_>, slice: &Slice) -> Result<Classes, Refusal> {
    let table = match slice.l3_ways {
        Some(_) => "[cache]",
        None => "[bandwidth]",
    };
    match pool.host.classes {
        None => Err(refusal(
            "the CPUs of this machine cannot share out their L3 cache",
            format!("leave `{table}` out, or take a machine whose /proc/cpuinfo has `cat_l3`"),
        )),
        Some(classes) if classes.resctrl => Err(refusal(
            "Linux shares caches out itself: resctrl is mounted",
            "end that first: umount /sys/fs/resctrl",
        )),
        Some(classes) => Ok(classes),
    }
}

/// The delay for the slice's limit.
fn delay(machine: &Classes, slice: &Slice) -> Result<u8, Refusal> {
    let limit = |cause: String, help: String| Refusal {
        cause,
        help,
        is_limit: true,
    };
    let Some(percent) = slice.bandwidth else {
        return Ok(0);
    };
    let Some(step) = machine.step() else {
        return Err(limit(
            "the CPUs of this machine know no limit in percent".to_owned(),
            "leave `[bandwidth]` out, or take a machine whose /proc/cpuinfo has `mba`".to_owned(),
        ));
    };
    if percent % step == 0 {
        return Ok((100 - percent) as u8);
    }
    let below = percent / step * step;
    let near = match below {
        0 => format!("{step}"),
        below if below + step < 100 => format!("{below} or {}", below + step),
        below => format!("{below}"),
    };
    Err(limit(
        format!("the CPUs know limits in steps of {step} percent"),
        format!("write {near}"),
    ))
}

/// The classes where a slice's CPUs are.
struct Choice<'a> {
    machine: &'a Classes,
    /// Who has a class behind the same caches.
    near: Vec<&'a Holder>,
    /// What they have, by cache.
    shares: Vec<Shares>,
}

impl<'a> Choice<'a> {
    fn new(pool: &'a Pool<'_>, machine: &'a Classes, cpus: &[AssignedCpu]) -> Self {
        let rules = machine.rules();
        let is_near = |holder: &&Holder, id| holder.ids.iter().any(|own| rules.together(*own, id));
        let of = |cpu: &AssignedCpu| {
            let mut shares = Shares::default();
            let near = pool.classes.iter().filter(|h| is_near(h, cpu.apic_id));
            near.for_each(|holder| shares.add(holder.class.class()));
            shares
        };
        let near = pool.classes.iter();
        let near = near.filter(|h| cpus.iter().any(|cpu| is_near(h, cpu.apic_id)));
        Self {
            machine,
            near: near.collect(),
            shares: cpus.iter().map(of).collect(),
        }
    }

    fn allows(&self, class: AssignedClass) -> bool {
        let rules = self.machine.rules();
        let mut shares = self.shares.iter();
        shares.all(|shares| rules.allows(shares, class.class()))
    }

    /// The lowest class and ways that are free.
    fn find(&self, slice: &Slice, delay: u8) -> Result<AssignedClass, Refusal> {
        let all = u32::from(self.machine.l3_ways);
        let wanted = slice.l3_ways.unwrap_or(0);
        if wanted >= all {
            let cause = format!(
                "the cache has {}, and one stays with the root",
                count(all, "way")
            );
            let help = match all {
                0 | 1 => "leave `[cache]` out".to_owned(),
                _ => format!("write `l3-ways = {}` or less", all - 1),
            };
            return Err(refusal(cause, help));
        }
        let last = match slice.bandwidth {
            Some(_) => self.machine.last.min(self.machine.last_delayed),
            None => self.machine.last,
        };
        let class = |number, l3_ways| AssignedClass {
            number,
            l3_ways,
            delay,
        };
        let taken = |number| self.near.iter().any(|h| h.class.number == number);
        let last = last.min(MOST);
        let Some(number) = (1..=last).find(|number| !taken(*number)) else {
            return Err(refusal(
                format!(
                    "classes of service besides the root's: {last}, and all are taken behind \
                     its L3 cache: {}",
                    self.holders()
                ),
                "take CPUs behind another L3 cache, or leave the wish out of other slices",
            ));
        };
        let stretch = |first: u32| (((1_u64 << wanted) - 1) << first) as u32;
        let mut classes = (0..=all - wanted).map(|first| class(number, stretch(first)));
        classes.find(|class| self.allows(*class)).ok_or_else(|| {
            refusal(
                format!(
                    "so many in a row are not free of the {} behind its CPUs, of which one \
                     stays with the root: {}",
                    count(all, "way"),
                    self.holders()
                ),
                "write fewer, or take CPUs behind another L3 cache",
            )
        })
    }

    /// Who has what, in a sentence.
    fn holders(&self) -> String {
        let one = |holder: &&Holder| {
            let ways = holder.class.l3_ways.count_ones();
            format!("`{}` has {}", holder.name, count(ways, "way"))
        };
        self.near.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Classes that are used, besides the root's.
const MOST: u8 = 15;

/// What the slice got, and what that leaves.
fn told(
    pool: &Pool<'_>,
    slice: &Slice,
    cpus: &[AssignedCpu],
    class: &AssignedClass,
) -> Vec<String> {
    let mut told = Vec::new();
    let (Some(machine), Some(first)) = (pool.host.classes, cpus.first()) else {
        return told;
    };
    let rules = machine.rules();
    if class.l3_ways != 0 {
        let near = pool.classes.iter();
        let near = near.filter(|h| h.ids.iter().any(|id| rules.together(*id, first.apic_id)));
        let taken = near.fold(class.l3_ways, |taken, h| taken | h.class.l3_ways);
        told.push(format!(
            "cache: {} of the L3 cache's {} for itself (class {}), {} left for the root and others",
            numbered("way", class.ways()),
            machine.l3_ways,
            class.number,
            numbered("way", bits(rules.rest(taken))),
        ));
    }
    if let Some(percent) = slice.bandwidth {
        told.push(format!(
            "bandwidth: {percent} percent of what each CPU could take (class {})",
            class.number
        ));
    }
    told
}

/// Numbers of the bits that are set.
fn bits(mask: u32) -> impl Iterator<Item = u32> + use<> {
    (0..u32::BITS).filter(move |bit| mask & 1 << bit != 0)
}
