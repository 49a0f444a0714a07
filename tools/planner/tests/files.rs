//! What is said of kernels, initrds and command lines, with the files there.

use cellvisor_planner::check::{self, Files};
use cellvisor_planner::config;
use cellvisor_planner::host::Host;
use cellvisor_planner::plan::Taken;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder that is gone in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cellvisor-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs::write(self.0.join(name), content).expect("written");
    }

    /// What is said of a slice with 1 GiB (or `memory`), an image, and what
    /// else `[kernel]` has; without the folder's name.
    fn told(&self, memory: &str, kernel: &str, files: Files) -> String {
        self.told_with(memory, kernel, "", files)
    }

    /// The same, with `more` in its file.
    fn told_with(&self, memory: &str, kernel: &str, more: &str, files: Files) -> String {
        let text = format!(
            "version = 1\ncell.name = \"new\"\ncpus.count = 1\nmemory.size = \"{memory}\"\n\
             kernel = {{ {kernel} }}\n{more}"
        );
        let slices = config::parse(&text, &self.0.join("slice.toml")).expect("well formed");
        let z8 = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/hosts/z8.toml");
        let host = Host::load(&z8).expect("a host");
        let report = check::check(&host, &slices, &Taken::default(), files);
        report
            .to_string()
            .replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A bzImage of 3 KiB that takes command lines of 100 bytes and needs 65 MiB.
fn kernel() -> Vec<u8> {
    let mut image = vec![0u8; 3072];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[3]);
    put(0x1f4, &64u32.to_le_bytes());
    put(0x202, b"HdrS");
    put(0x206, &0x020fu16.to_le_bytes());
    put(0x236, &[1]);
    put(0x238, &100u32.to_le_bytes());
    put(0x260, &(64u32 << 20).to_le_bytes());
    image
}

#[test]
fn whole_kernels_and_archives_are_good() {
    let folder = Folder::new("good");
    folder.put("vmlinuz", &kernel());
    folder.put("initrd", b"070701 and so on");
    let mut elf = b"\x7fELF\x02".to_vec();
    elf.resize(18, 0);
    elf.extend([62, 0]);
    elf.resize(64, 0);
    folder.put("vmlinux", &elf);
    folder.put("more", b"\x28\xb5\x2f\xfd and so on");
    for good in [
        "image = \"vmlinuz\", initrd = \"initrd\"",
        "image = \"vmlinuz\", initrd = [\"initrd\", \"more\"]",
        "image = \"vmlinux\"",
    ] {
        for files in [Files::Look, Files::Elsewhere] {
            assert_eq!(folder.told("1GiB", good, files), "");
        }
    }
}

#[test]
fn kernels_are_looked_into() {
    let folder = Folder::new("kernels");
    let mut narrow = kernel();
    narrow[0x236] = 0;
    folder.put("narrow", &narrow);
    folder.put("cut", &kernel()[..3056]);
    let mut arm = b"\x7fELF\x01".to_vec();
    arm.resize(64, 0);
    folder.put("arm", &arm);
    folder.put("text", b"hello");
    let bzimage = "name a bzImage, as /boot/vmlinuz-* of a distribution is";
    let elf = "name a bzImage, or an ELF file that is linked for x86, as vmlinux is, with an entry";
    let advice = "relative paths start at this file's folder; kernels are in /boot";
    for (name, message, cause, help) in [
        (
            "narrow",
            "narrow is a bzImage without a 64-bit entry",
            "",
            bzimage,
        ),
        (
            "arm",
            "arm is a 32-bit ELF file for another processor",
            "",
            elf,
        ),
        ("text", "text is no bzImage and no ELF file", "", bzimage),
        (
            "cut",
            "cut is cut short",
            " it has 3056 bytes, its header says 3057",
            "copy it again",
        ),
        ("none", "the kernel none does not exist", "", advice),
        (
            "/dev/zero",
            "the kernel /dev/zero is no ordinary file",
            "",
            "name a file, not a folder or device",
        ),
    ] {
        let marks = "^".repeat(name.len() + 2);
        let expected = format!(
            "\
error: {message}
 --> slice.toml:5:20
  |
5 | kernel = {{ image = \"{name}\" }}
  |                    {marks}{cause}
  |
  = help: {help}"
        );
        let told = folder.told("1GiB", &format!("image = \"{name}\""), Files::Look);
        assert_eq!(told, expected);
    }
}

#[test]
fn kernels_that_do_not_fit_are_told() {
    let folder = Folder::new("fit");
    folder.put("vmlinuz", &kernel());
    let expected = "\
error: the kernel does not fit into 64MiB
 --> slice.toml:4:15
  |
4 | memory.size = \"64MiB\"
  |               ^^^^^^^ vmlinuz needs 65MiB to unpack itself
  |
  = help: give the slice more memory";
    let told = folder.told("64MiB", "image = \"vmlinuz\"", Files::Look);
    assert_eq!(told, expected);
}

/// A 32-bit ELF file with a Multiboot header, linked from 2 MiB to 70 MiB.
fn program() -> Vec<u8> {
    let mut image = vec![0u8; 96];
    let mut put = |at: usize, value: u32| image[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(0, 0x464c_457f);
    put(4, 1);
    put(16, 2 | 3 << 16);
    put(24, 0x20_0000);
    put(28, 52);
    put(42, 32);
    put(44, 1);
    for (n, value) in [1, 84, 0, 0x20_0000, 12, 68 << 20].into_iter().enumerate() {
        put(52 + n * 4, value);
    }
    for (n, value) in [0x1bad_b002, 0, 0xe452_4ffe].into_iter().enumerate() {
        put(84 + n * 4, value);
    }
    image
}

#[test]
fn programs_take_modules_of_any_kind_and_say_where_they_lie() {
    let folder = Folder::new("programs");
    folder.put("p", &program());
    folder.put("text", b"hello");
    let told = |memory, kernel| folder.told(memory, kernel, Files::Look);
    assert_eq!(told("1GiB", "image = \"p\", initrd = \"text\""), "");
    let narrow = told("66MiB", "image = \"p\"");
    assert!(
        narrow.contains("p needs 70MiB where it is linked"),
        "{narrow}"
    );
}

#[test]
fn initrds_are_looked_into() {
    let folder = Folder::new("initrds");
    folder.put("k", &kernel());
    folder.put("text", b"hello");
    folder.put("empty", b"");
    let large = fs::File::create(folder.0.join("large")).expect("created");
    large.set_len(3 << 20).expect("a hole");
    for (name, message, cause, help) in [
        (
            "text",
            "text is no initrd",
            " it is no cpio archive, packed or not",
            "name one, as /boot/initrd.img-* of a distribution is",
        ),
        (
            "empty",
            "the initrd empty is empty",
            "",
            "build it again, or leave `initrd` out",
        ),
        (
            "large",
            "the initrd does not fit into 66MiB",
            " it has 3MiB, and the kernel needs 65MiB to unpack itself",
            "give the slice more memory, or make the initrd smaller",
        ),
        (
            "none",
            "the initrd none does not exist",
            "",
            "relative paths start at this file's folder; or leave `initrd` out",
        ),
    ] {
        let marks = "^".repeat(name.len() + 2);
        let expected = format!(
            "\
error: {message}
 --> slice.toml:5:34
  |
5 | kernel = {{ image = \"k\", initrd = \"{name}\" }}
  |                                  {marks}{cause}
  |
  = help: {help}"
        );
        let kernel = format!("image = \"k\", initrd = \"{name}\"");
        assert_eq!(folder.told("66MiB", &kernel, Files::Look), expected);
    }
}

#[test]
fn each_file_of_an_initrd_is_looked_into() {
    let folder = Folder::new("parts");
    folder.put("k", &kernel());
    folder.put("good", b"070701 and so on");
    let large = fs::File::create(folder.0.join("large")).expect("created");
    large.set_len(3 << 20).expect("a hole");
    let told = |initrd: &str| {
        let kernel = format!("image = \"k\", initrd = {initrd}");
        folder.told("66MiB", &kernel, Files::Look)
    };
    let expected = "\
error: k is no initrd
 --> slice.toml:5:43
  |
5 | kernel = { image = \"k\", initrd = [\"good\", \"k\", \"none\"] }
  |                                           ^^^ it is a kernel
  |
  = help: name it as `image`, and an initrd as `initrd`

error: the initrd none does not exist
 --> slice.toml:5:48
  |
5 | kernel = { image = \"k\", initrd = [\"good\", \"k\", \"none\"] }
  |                                                ^^^^^^
  |
  = help: relative paths start at this file's folder; or leave `initrd` out";
    assert_eq!(told("[\"good\", \"k\", \"none\"]"), expected);
    let expected = "\
error: the initrd does not fit into 66MiB
 --> slice.toml:5:34
  |
5 | kernel = { image = \"k\", initrd = [\"good\", \"large\"] }
  |                                  ^^^^^^^^^^^^^^^^^ its 2 files have 3MiB, and the kernel needs 65MiB to unpack itself
  |
  = help: give the slice more memory, or make the initrd smaller";
    assert_eq!(told("[\"good\", \"large\"]"), expected);
}

#[test]
fn command_lines_are_as_long_as_the_kernel_takes() {
    let folder = Folder::new("lines");
    folder.put("k", &kernel());
    // `console=ttyS0 ` comes before it.
    let line = |length: usize| format!("image = \"k\", cmdline = \"{}\"", "x".repeat(length - 14));
    assert_eq!(folder.told("1GiB", &line(100), Files::Look), "");
    let told = folder.told("1GiB", &line(107), Files::Look);
    assert!(
        told.starts_with("error: the command line is too long\n"),
        "{told}"
    );
    assert!(
        told.contains("it has 107 bytes, and the kernel takes 100"),
        "{told}"
    );
    assert!(told.ends_with("help: shorten it by 7 bytes"), "{told}");
}

#[test]
fn a_virtual_console_is_named_unless_another_is() {
    let virtual_one = "console = { kind = \"virtual\" }";
    let lines = "console.kind = \"virtio\"";
    let uart = "console = { kind = \"uart\", port = 0x3e8 }";
    for (console, written, passed) in [
        (virtual_one, "", "console=ttyS0"),
        (virtual_one, "ro quiet", "console=ttyS0 ro quiet"),
        (
            virtual_one,
            "ro console=ttyS0,9600",
            "ro console=ttyS0,9600",
        ),
        (virtual_one, "noconsole=1", "console=ttyS0 noconsole=1"),
        (lines, "ro", "console=hvc0 ro"),
        (lines, "console=ttyS0", "console=ttyS0"),
        (uart, "ro", "ro"),
    ] {
        let text = format!(
            "version = 1\ncell.name = \"a\"\ncpus.count = 1\nmemory.size = \"64MiB\"\n{console}\n\
             kernel = {{ image = \"k\", cmdline = \"{written}\" }}\n"
        );
        let slices = config::parse(&text, Path::new("a.toml")).expect("well formed");
        assert_eq!(slices[0].command_line(), passed);
    }
}

#[test]
fn files_of_another_machine_are_not_called_good() {
    let folder = Folder::new("elsewhere");
    folder.put("cut", &kernel()[..3056]);
    let expected = "\
warning: the kernel none is not on this machine
 --> slice.toml:5:20
  |
5 | kernel = { image = \"none\" }
  |                    ^^^^^^ so it was not looked at
  |
  = help: it must be on the machine where the slice is created";
    let told = folder.told("1GiB", "image = \"none\"", Files::Elsewhere);
    assert_eq!(told, expected);
    let told = folder.told("1GiB", "image = \"cut\"", Files::Elsewhere);
    assert!(told.starts_with("error: cut is cut short\n"), "{told}");
}

#[test]
fn what_the_driver_of_an_extended_socket_needs_is_looked_for() {
    let folder = Folder::new("socket");
    folder.put("generic", &kernel());
    let mut cloud = kernel();
    cloud[0x20e..0x210].copy_from_slice(&0x400u16.to_le_bytes());
    cloud[0x600..0x618].copy_from_slice(b"6.12.95-cloud-amd64 (a)\0");
    folder.put("cloud", &cloud);
    let wire =
        "[[link]]\nname = \"wire\"\nkind = \"extended-socket\"\nmembers = [\"new\", \"b\"]\n";
    let told = |kernel, more| folder.told_with("1GiB", kernel, more, Files::Look);
    let good = "image = \"generic\", cmdline = \"ro nohz=off\"";
    assert_eq!(told(good, wire), "");
    let idle = "\
warning: a kernel that is idle may hang for seconds when a frame comes by link `wire`
 --> slice.toml:5:41
  |
5 | kernel = { image = \"generic\", cmdline = \"ro\" }
  |                                         ^^^^ its driver, fjes, waits for the kernel's clock, which stands still while an idle kernel handles an interrupt
  |
  = help: add `nohz=off`: the clock of a cell goes on without exits";
    let ticking = "image = \"generic\", cmdline = \"ro\"";
    assert_eq!(told(ticking, wire), idle);
    assert_eq!(told(ticking, ""), "");
    let without = told("image = \"cloud\", cmdline = \"nohz=off\"", wire);
    let expected = "warning: cloud has no driver for link `wire`";
    assert_eq!(without.lines().next(), Some(expected), "{without}");
    assert_eq!(told("image = \"cloud\"", ""), "");
}
