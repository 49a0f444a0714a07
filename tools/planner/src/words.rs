//! Words that depend on a number.

use crate::host::Host;
use crate::list::List;

/// `1 CPU`, `2 CPUs`: for words whose plural ends in "s".
#[must_use]
pub fn count(number: impl TryInto<u64>, what: &str) -> String {
    match number.try_into() {
        Ok(1) => format!("1 {what}"),
        Ok(number) => format!("{number} {what}s"),
        // Not reached for what people count.
        Err(_) => format!("many {what}s"),
    }
}

/// `CPU 3`, `CPUs 3-5`.
#[must_use]
pub fn numbered(what: &str, numbers: impl IntoIterator<Item = u32>) -> String {
    let list: List = numbers.into_iter().collect();
    let plural = if list.0.len() == 1 { "" } else { "s" };
    format!("{what}{plural} {list}")
}

/// Which nodes a machine has, as help for somebody who named another.
pub(crate) fn nodes_of(host: &Host) -> String {
    let nodes = numbered("node", host.nodes.iter().map(|n| n.id));
    let only = if host.nodes.len() == 1 { "only " } else { "" };
    format!("this machine has {only}{nodes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(count(0, "CPU"), "0 CPUs");
        assert_eq!(count(1, "PCI function"), "1 PCI function");
        assert_eq!(count(2, "error"), "2 errors");
        assert_eq!(numbered("node", [0]), "node 0");
        assert_eq!(numbered("CPU", [1, 2, 3, 7]), "CPUs 1-3,7");
    }
}
