//! What slices need of the monitor that its image may have been built without.

use crate::error::{Error, Result};
use cellvisor_abi::parts::Parts;
use cellvisor_planner::config::{Console, Slice};
use cellvisor_planner::report::Place;

/// Refuses slices that need a part which the monitor lacks. It would refuse their cells
/// itself, after all had been taken for them.
pub(super) fn check(slices: &[Slice], parts: Parts) -> Result<()> {
    for slice in slices {
        let lacking = needs(slice).into_iter().find(|need| !parts.has(need.part));
        if let Some(Need { part, place, what }) = lacking {
            let name = part.names().next().unwrap_or("");
            return Err(Error::new(
                format!("cannot create cell \"{}\"", slice.name),
                format!(
                    "{}:{} gives it {what}, which the monitor that is on was built without \
                     (part `{name}`)",
                    place.file.display(),
                    place.line
                ),
                "leave it out; or turn on an image with all parts (`cargo xtask build` without \
                 --small): cellctl disable; cellctl enable --image FILE",
            ));
        }
    }
    Ok(())
}

/// A part that a slice needs, where it says so, and what for.
struct Need {
    part: Parts,
    place: Place,
    what: &'static str,
}

fn needs(slice: &Slice) -> Vec<Need> {
    let at = |key: &str, part, what| Need {
        part,
        place: slice.place(key),
        what,
    };
    let mut needs = Vec::new();
    if slice.console == Console::Virtio {
        needs.push(at(
            "console.kind",
            Parts::ADAPTERS,
            "a console that takes lines",
        ));
    }
    if slice.l3_ways.is_some() {
        needs.push(at(
            "cache.l3-ways",
            Parts::CLASSES,
            "a part of the L3 cache",
        ));
    }
    if slice.bandwidth.is_some() {
        let what = "a limit of memory bandwidth";
        needs.push(at("bandwidth.percent", Parts::CLASSES, what));
    }
    for wish in &slice.links {
        let (part, key, what) = match &wish.link {
            link if link.is_socket() => (Parts::SOCKETS, "kind", "an Extended Socket"),
            link if link.is_ethernet() => (Parts::ADAPTERS, "kind", "a network"),
            link if link.doorbell => (Parts::ADAPTERS, "doorbell", "a doorbell"),
            _ => continue,
        };
        needs.push(Need {
            part,
            place: wish.place(key),
            what,
        });
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::slices;

    fn link(rest: &str) -> String {
        format!("[[link]]\nname = \"l\"\nmembers = [\"a\", \"b\"]\n{rest}")
    }

    const ALL: Parts = Parts(u32::MAX);

    #[test]
    fn what_needs_no_part_goes_with_any_image() {
        let window = link("kind = \"window\"\nsize = \"2MiB\"");
        for extra in ["", "console.kind = \"virtual\"", &window] {
            check(&slices(extra), Parts::NONE).expect("nothing is needed");
        }
    }

    #[test]
    fn what_needs_a_part_is_refused_at_its_line_where_that_is_missing() {
        let bell = link("kind = \"window\"\nsize = \"2MiB\"\ndoorbell = true");
        let (net, socket) = (
            link("kind = \"ethernet\""),
            link("kind = \"extended-socket\""),
        );
        for (extra, part, line) in [
            ("console.kind = \"virtio\"", Parts::ADAPTERS, 6),
            ("cache.l3-ways = 2", Parts::CLASSES, 6),
            ("bandwidth.percent = 50", Parts::CLASSES, 6),
            (&bell, Parts::ADAPTERS, 11),
            (&net, Parts::ADAPTERS, 9),
            (&socket, Parts::SOCKETS, 9),
        ] {
            let slices = slices(extra);
            check(&slices, ALL).expect("all parts");
            check(&slices, part).expect("its part");
            let rest = Parts(ALL.0 & !part.0);
            let text = check(&slices, rest).expect_err("its part").to_string();
            assert!(text.contains(&format!("a.toml:{line} ")), "{text}");
            let name = part.names().next().expect("a name");
            assert!(text.contains(&format!("(part `{name}`)")), "{text}");
            assert!(text.contains("help: leave it out"), "{text}");
        }
    }
}
