//! What an image's boot menu boots: a kernel, initial RAM disks, and words for its command
//! line. Menus are ISOLINUX's or GRUB's; an image without one has its files in a usual place.

/// Where menus are.
pub(super) const MENUS: &[&str] = &[
    "/isolinux/isolinux.cfg",
    "/boot/isolinux/isolinux.cfg",
    "/isolinux.cfg",
    "/syslinux/syslinux.cfg",
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/EFI/BOOT/grub.cfg",
    "/EFI/debian/grub.cfg",
    "/grub/grub.cfg",
];

/// Where kernels and initial RAM disks are without a menu.
pub(super) const PLACES: &[(&str, &str)] = &[
    ("/vmlinuz", "/initrd"),
    ("/vmlinuz", "/initrd.img"),
    ("/boot/vmlinuz", "/boot/initrd.img"),
    ("/live/vmlinuz", "/live/initrd.img"),
    ("/casper/vmlinuz", "/casper/initrd"),
    ("/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img"),
    ("/install.amd/vmlinuz", "/install.amd/initrd.gz"),
];

/// Characters of a command line at most, as kernels have it.
const LONGEST: usize = 2047;

/// What is booted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    label: String,
    /// Paths in the image.
    pub(super) kernel: String,
    pub(super) initrds: Vec<String>,
    /// For the command line.
    pub(super) words: String,
}

impl Entry {
    /// That of files in a usual place.
    pub(super) fn of(kernel: &str, initrd: &str) -> Self {
        Self {
            kernel: kernel.to_owned(),
            initrds: vec![initrd.to_owned()],
            ..Self::default()
        }
    }

    fn append(&mut self, words: &[&str], folder: &str) {
        let mut kept: Vec<&str> = self.words.split_whitespace().collect();
        for word in words {
            match word.strip_prefix("initrd=") {
                Some(files) => self
                    .initrds
                    .extend(files.split(',').map(|file| path(file, folder))),
                // A boot loader's variable has no value here.
                None if word.contains('$') => {}
                None => kept.push(word),
            }
        }
        self.words = kept.join(" ");
    }
}

/// A path as a menu in `folder` has it: GRUB's may begin with a device.
fn path(word: &str, folder: &str) -> String {
    let word = match word.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_, rest)) => rest,
        None => word,
    };
    match word.starts_with('/') {
        true => word.to_owned(),
        false => format!("{folder}/{word}"),
    }
}

/// What the menu `file` boots by itself: the entry that it names as default, or its first.
pub(super) fn of_menu(file: &str, text: &str) -> Option<Entry> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut default = "";
    let mut entries = vec![Entry::default()];
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        let words: Vec<&str> = words.collect();
        let (key, value) = (first.to_ascii_lowercase(), *words.first().unwrap_or(&""));
        if ["label", "menuentry"].contains(&&*key) {
            let label = value.to_owned();
            entries.push(Entry {
                label,
                ..Entry::default()
            });
        }
        let Some(entry) = entries.last_mut() else {
            continue;
        };
        match &*key {
            "default" => default = value,
            "kernel" | "linux" | "linuxefi" | "linux16" if entry.kernel.is_empty() => {
                entry.kernel = path(value, folder);
                entry.append(words.get(1..).unwrap_or_default(), folder);
            }
            "append" => entry.append(&words, folder),
            "initrd" | "initrdefi" | "initrd16" => {
                let files = words.iter().flat_map(|word| word.split(','));
                entry.initrds = files.map(|file| path(file, folder)).collect();
            }
            _ => {}
        }
    }
    let mut bootable = entries.into_iter().filter(|entry| {
        !entry.kernel.ends_with('/')
            && !entry.kernel.is_empty()
            // Modules of boot loaders (menus, chains) are no kernels.
            && !entry.kernel.ends_with(".c32")
    });
    let first = bootable.next()?;
    if first.label.eq_ignore_ascii_case(default) {
        return Some(first);
    }
    let named =
        bootable.find(|entry| !default.is_empty() && entry.label.eq_ignore_ascii_case(default));
    Some(named.unwrap_or(first))
}

/// True if a kernel takes it as its command line.
pub(super) fn is_command_line(words: &str) -> bool {
    words.len() <= LONGEST && words.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn isolinux_boots_its_default() {
        let text = "default boot\n\nlabel other\nkernel /memtest\nlabel boot\nkernel vmlinuz\n\
            append initrd=/initrd,more.img text nofb console=ttyS0 --\n";
        let entry = of_menu("/isolinux/isolinux.cfg", text).expect("an entry");
        assert_eq!(entry.kernel, "/isolinux/vmlinuz");
        assert_eq!(entry.initrds, ["/initrd", "/isolinux/more.img"]);
        assert_eq!(entry.words, "text nofb console=ttyS0 --");
    }

    #[test]
    fn grub_boots_its_first_entry() {
        let text = "set default=0\nmenuentry \"install\" {\n  linuxefi ($root)/vmlinuz a=$b quiet\n  \
            initrdefi /initrd /more\n}\nmenuentry \"x\" {\n linux /y\n}\n";
        let entry = of_menu("/EFI/BOOT/grub.cfg", text).expect("an entry");
        assert_eq!(entry.kernel, "/vmlinuz");
        assert_eq!(entry.initrds, ["/initrd", "/more"]);
        assert_eq!(entry.words, "quiet");
    }

    #[test]
    fn a_menu_that_boots_nothing_is_none() {
        for text in [
            "",
            "timeout 5",
            "label a\nkernel vesamenu.c32",
            "menuentry x {\nchainloader y\n}",
        ] {
            assert_eq!(of_menu("/isolinux.cfg", text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "((default|label|kernel|append|initrd|linux|[a-z/=,($)]{1,9})[ \n]{1,2}){0,30}") {
            if let Some(entry) = of_menu("/isolinux/isolinux.cfg", &text) {
                prop_assert!(entry.kernel.starts_with('/'));
                prop_assert!(!entry.words.contains('$'));
                prop_assert!(entry.initrds.iter().all(|file| file.starts_with('/')));
            }
        }
    }
}
