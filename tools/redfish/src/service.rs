//! The service: what all requests share.

use crate::config::Config;
use crate::error::Result;
use crate::events::Events;
use crate::look::Look;
use crate::manage::Manage;
use crate::media::Media;
use crate::passwords::Passwords;
use crate::places::Places;
use crate::sessions::Sessions;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What they know.
pub(crate) struct Service {
    pub(crate) look: Arc<Look>,
    pub(crate) events: Arc<Events>,
    pub(crate) manage: Manage,
    pub(crate) media: Media,
    pub(crate) passwords: Passwords,
    pub(crate) sessions: Sessions,
    /// What people call the machine.
    pub(crate) host: String,
    /// What its firmware calls it: properties of the chassis.
    pub(crate) machine: Vec<(&'static str, String)>,
    /// The same at each start on this machine.
    pub(crate) uuid: String,
}

impl Service {
    /// # Errors
    ///
    /// The kernel gives no random numbers; what was inserted before cannot be read.
    pub(crate) fn new(config: &Config, places: &Places) -> Result<Self> {
        let timeout = Duration::from_secs(config.session_timeout.into());
        let text = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
        let host = text("/proc/sys/kernel/hostname").trim().to_owned();
        Ok(Self {
            look: Arc::new(Look::new(places.cellctl.clone(), places.slices.clone())),
            events: Arc::default(),
            manage: Manage::new(places.power.clone()),
            media: Media::new(config.media.clone(), &places.state)?,
            passwords: Passwords::new(config.accounts.clone())?,
            sessions: Sessions::new(timeout),
            uuid: uuid(text("/etc/machine-id").trim()),
            host,
            machine: machine(Path::new("/sys/class/dmi/id")),
        })
    }
}

/// What the firmware says of the machine, as far as everybody may know it; it does not
/// change while Linux runs.
fn machine(folder: &Path) -> Vec<(&'static str, String)> {
    let known = [
        ("Manufacturer", "sys_vendor"),
        ("Model", "product_name"),
        ("SKU", "product_sku"),
    ];
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    let texts = known.map(|(key, file)| (key, read(file).trim().to_owned()));
    texts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

/// A UUID of this service from the machine's id, which itself is not to be shown.
///
/// Spec: RFC 9562 "UUID Version 8"; machine-id(5) on ids of applications.
fn uuid(machine: &str) -> String {
    let text = format!("cellvisor-redfish {machine}");
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::sessions::hex(&bytes);
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_called_what_its_firmware_says() {
        let dir = tempfile::tempdir().expect("a folder");
        for (file, text) in [("sys_vendor", "HP\n"), ("product_sku", " \n")] {
            std::fs::write(dir.path().join(file), text).expect("a file");
        }
        assert_eq!(machine(dir.path()), [("Manufacturer", "HP".to_owned())]);
    }

    #[test]
    fn a_uuid_is_of_its_machine_and_of_version_8() {
        let one = uuid("0123456789abcdef");
        assert_eq!((one.len(), &one[14..15]), (36, "8"));
        assert_eq!(one, uuid("0123456789abcdef"));
        assert_ne!(one, uuid("0123456789abcdee"));
    }
}
