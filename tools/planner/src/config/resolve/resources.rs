//! CPUs and memory.

use super::Read;
use crate::config::{CpuWish, MemoryWish, raw};
use crate::list::List;
use crate::size::{GIB, MIB, Size};

/// Least memory that a stock kernel with an initrd makes sense with.
pub(super) const LEAST_MEMORY: u64 = 64 * MIB;

/// No CPU has physical addresses with more bits than 52.
const MOST_ADDRESS: u64 = 1 << 52;

impl Read {
    pub(super) fn cpus(&mut self, raw: &raw::Cpus) -> Option<CpuWish> {
        let list = match &raw.list {
            Some(text) => match text.parse::<List>() {
                Ok(list) => Some(list.0.into_iter().collect::<Vec<_>>()),
                Err(e) => {
                    let message = format!("the list of CPUs is wrong: {e}");
                    self.wrong(
                        "cpus.list",
                        message,
                        "write CPUs as in \"2,4\" or \"12-19\"",
                    );
                    return None;
                }
            },
            None => None,
        };
        let count = match (&list, raw.count) {
            (Some(list), Some(count)) if list.len() != count as usize => {
                let message = format!("`count` is {count}, but `list` names {}", list.len());
                self.wrong("cpus.count", message, "leave one of the two out");
                return None;
            }
            (Some(list), _) => list.len(),
            (None, Some(count)) => count as usize,
            (None, None) => {
                self.wrong(
                    "cpus",
                    "`cpus` says neither how many CPUs nor which",
                    "add `count = 2`, or `list = \"2-3\"` for just these",
                );
                return None;
            }
        };
        if count == 0 {
            let key = if list.is_some() {
                "cpus.list"
            } else {
                "cpus.count"
            };
            self.wrong(
                key,
                "a slice needs at least one CPU",
                "write `count = 1` or more",
            );
            return None;
        }
        Some(CpuWish {
            count,
            list,
            numa_node: raw.numa_node,
            split_siblings: raw.split_siblings,
        })
    }

    pub(super) fn memory(&mut self, raw: &raw::Memory) -> Option<MemoryWish> {
        let size = self.memory_size(&raw.size);
        let page_size = self.maybe(raw.page_size.as_ref(), |read, t| read.page_size(t));
        let base = self.maybe(raw.base.as_ref(), |read, t| read.base(t));
        let (size, page_size, base) = (size?, page_size?, base?);
        if let Some(page) = page_size.filter(|p| !size.is_multiple_of(*p)) {
            let page = Size(page);
            self.wrong(
                "memory.size",
                format!("{} is no multiple of the page size, {page}", Size(size)),
                format!("round it to whole pages of {page}, or leave `page-size` out"),
            );
            return None;
        }
        if base.is_some_and(|b| b.saturating_add(size) > MOST_ADDRESS) {
            self.wrong(
                "memory.base",
                "the range ends where no machine has memory",
                "write a lower address",
            );
            return None;
        }
        Some(MemoryWish {
            size,
            numa_node: raw.numa_node,
            page_size,
            base,
        })
    }

    pub(super) fn l3_ways(&mut self, ways: u32) -> Option<u32> {
        if ways == 0 {
            let message = "a slice cannot do with no way of the cache at all";
            let help = "write `l3-ways = 1` or more, or leave `[cache]` out to share the root's";
            self.wrong("cache.l3-ways", message, help);
            return None;
        }
        Some(ways)
    }

    pub(super) fn percent(&mut self, percent: u32) -> Option<u32> {
        if !(1..100).contains(&percent) {
            let message = format!("{percent} percent is no limit of the memory bandwidth");
            let help = "write 1 to 99, or leave `[bandwidth]` out for no limit";
            self.wrong("bandwidth.percent", message, help);
            return None;
        }
        Some(percent)
    }

    fn memory_size(&mut self, text: &str) -> Option<u64> {
        let size = self.size("memory.size", text, "16GiB")?;
        if size < LEAST_MEMORY {
            let message = format!("{} is too little memory for a Linux kernel", Size(size));
            self.wrong(
                "memory.size",
                message,
                format!("write at least \"{}\"", Size(LEAST_MEMORY)),
            );
            return None;
        }
        if !size.is_multiple_of(2 * MIB) {
            let up = Size(size.next_multiple_of(2 * MIB));
            self.wrong(
                "memory.size",
                format!(
                    "{} is no multiple of 2MiB, the smallest page of a cell",
                    Size(size)
                ),
                format!("write \"{up}\""),
            );
            return None;
        }
        Some(size)
    }

    /// Also keeps `next_multiple_of` from overflowing: nobody has 2^60 bytes.
    pub(super) fn size(&mut self, key: &str, text: &str, example: &str) -> Option<u64> {
        let (message, help) = match text.parse::<Size>() {
            Ok(Size(bytes)) if bytes <= 1 << 60 => return Some(bytes),
            Ok(_) => (
                format!("\"{text}\" is more than any machine has"),
                format!("write a size as in \"{example}\""),
            ),
            Err(bad) => {
                let help = match &bad.instead {
                    Some(instead) => format!("write \"{instead}\" if that is what is meant"),
                    None => format!("write a size as in \"{example}\""),
                };
                (format!("\"{text}\" is no size: {bad}"), help)
            }
        };
        self.wrong(key, message, help);
        None
    }

    fn page_size(&mut self, text: &str) -> Option<u64> {
        let size = self.size("memory.page-size", text, "1GiB")?;
        if size == 2 * MIB || size == GIB {
            return Some(size);
        }
        let message = format!("there are no huge pages of {}", Size(size));
        self.wrong("memory.page-size", message, "write \"2MiB\" or \"1GiB\"");
        None
    }

    fn base(&mut self, text: &str) -> Option<u64> {
        let digits = text.strip_prefix("0x").filter(|d| !d.starts_with('+'));
        let base = digits.and_then(|d| u64::from_str_radix(d, 16).ok());
        let possible = |b: &u64| b.is_multiple_of(2 * MIB) && *b < MOST_ADDRESS;
        if let Some(base) = base.filter(possible) {
            return Some(base);
        }
        let (message, help) = match base {
            Some(base) if base >= MOST_ADDRESS => (
                format!("no machine has memory at {base:#x}"),
                "`cellctl host --json` shows where each node's memory is".to_owned(),
            ),
            Some(base) => (
                format!("{base:#x} is no multiple of 2MiB"),
                format!("write \"{:#x}\"", base & !(2 * MIB - 1)),
            ),
            None => (
                format!("\"{text}\" is no physical address"),
                "write it in hexadecimal, as in \"0x880000000\"".to_owned(),
            ),
        };
        self.wrong("memory.base", message, help);
        None
    }
}
