//! Room on the disk: a build that runs out of it fails anywhere, with any words.

use crate::paths::Paths;
use rustix::fs::statvfs;

/// Bytes that a run of all checks in a fresh clone leaves under `target/`, and
/// what its emulators hold meanwhile.
const NEEDED: u64 = 10 << 30;

/// Warns where so little is free that a whole run may not come to its end.
pub(crate) fn warn(paths: &Paths) {
    // The folder itself is made by the first build.
    let Ok(disk) = statvfs(&paths.root) else {
        return;
    };
    if let Some(warning) = warning(disk.f_bavail.saturating_mul(disk.f_frsize)) {
        eprintln!("warning: {}: {warning}", paths.target.display());
    }
}

fn warning(free: u64) -> Option<String> {
    let gib = |bytes: u64| {
        let tenths = (bytes >> 20) * 10 / 1024;
        format!("{}.{} GiB", tenths / 10, tenths % 10)
    };
    (free < NEEDED).then(|| {
        format!(
            "{} are free on this disk, and all checks in a fresh clone fill up to {}; \
             `cargo clean` in clones that are not used gives room",
            gib(free),
            gib(NEEDED)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_told() {
        assert_eq!(warning(NEEDED), None);
        let text = warning((3 << 30) + (921 << 20)).unwrap_or_default();
        assert!(text.starts_with("3.8 GiB are free"), "{text}");
        assert!(text.contains("up to 10.0 GiB"), "{text}");
    }
}
