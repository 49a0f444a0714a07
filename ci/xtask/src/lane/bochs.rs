//! Bochs: an emulation of VT-x that shares nothing with QEMU's. It boots from
//! a CD image, has no PCIe and no interrupt remapping, and is slow.

use super::{Console, Power};
use crate::image::RootImage;
use crate::paths::Paths;
use crate::scenario::Scenario;
use crate::sh::{Cmd, find_program};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// As on QEMU; what Bochs lacks needs no word.
const CMDLINE: &str = "console=ttyS0 panic=-1 loglevel=5 mitigations=off random.trust_cpu=on \
    nmi_watchdog=0 no_timer_check rdinit=/init";

/// RAM that this Bochs takes at most, in MiB.
const MAX_MEMORY_MIB: u32 = 2048;

/// Words for GRUB: no menu, no waiting.
const GRUB: &str = "set timeout=0\nset default=0\nmenuentry root {\n";

/// Why Bochs cannot run here.
///
/// # Errors
///
/// It is not installed.
pub(super) fn available() -> Result<()> {
    let missing = |name: &str| format!("{name} is not installed: run `cargo xtask setup`");
    for program in ["bochs", "grub-mkrescue", "xorriso", "mkfifo", "script"] {
        find_program(program).with_context(|| missing(program))?;
    }
    Ok(())
}

/// The emulator, its CD image and its config file.
pub(super) fn power(
    paths: &Paths,
    scenario: &Scenario,
    image: &RootImage,
    dir: &Path,
) -> Result<Power> {
    disc(paths, scenario, image, dir)?;
    let console = dir.join("console.pipe");
    Cmd::new("mkfifo").arg(&console).read()?;
    let write = |name: &str, text: String| {
        std::fs::write(dir.join(name), text).with_context(|| format!("cannot write {name}"))
    };
    write("bochsrc", config(scenario, dir, &console))?;
    // The stock build starts in its debugger.
    write("continue", "c\n".to_owned())?;
    // Its display without a window wants a terminal, which `script` gives.
    let line = format!(
        "bochs -q -f {} -rc {}",
        dir.join("bochsrc").display(),
        dir.join("continue").display()
    );
    // Some environments make it overflow a buffer of its own at the start, so
    // it gets one that is known.
    let path = "PATH=/usr/local/bin:/usr/bin:/bin";
    let mut command = Command::new("env");
    command.args(["-i", path, "HOME=/", "TERM=xterm"]);
    command.args(["script", "-qfec", &line, "/dev/null"]);
    // Its network card writes down what it sends, where Bochs was started.
    command.current_dir(dir);
    Ok(Power {
        command,
        console: Console::Pipe(console),
    })
}

fn config(scenario: &Scenario, dir: &Path, console: &Path) -> String {
    let machine = &scenario.machine;
    let file = |name: &str| dir.join(name).display().to_string();
    [
        "display_library: term".to_owned(),
        // Each drawing ends up in a terminal that nobody reads, and Bochs stops
        // when that is full: as few as can be, by the machine's own time.
        "vga: extension=vbe, update_freq=1, realtime=0".to_owned(),
        // A model without protection keys: Bochs says of their state that it has
        // no size, which Linux does not survive.
        // Its TSC counts as many: 5 % above the least rate that the monitor takes, since
        // Linux may find one that is 1 kHz less.
        format!(
            "cpu: model=broadwell_ult, count={}, ips=105000000, ignore_bad_msrs=1, \
             reset_on_triple_fault=1",
            machine.cpus
        ),
        format!(
            "memory: guest={0}, host={0}",
            machine.memory_mib.min(MAX_MEMORY_MIB)
        ),
        "romimage: file=/usr/share/bochs/BIOS-bochs-latest".to_owned(),
        "vgaromimage: file=/usr/share/vgabios/vgabios.bin".to_owned(),
        "clock: sync=none".to_owned(),
        format!(
            "ata0-master: type=cdrom, path={}, status=inserted",
            file("boot.iso")
        ),
        "boot: cdrom".to_owned(),
        // A conventional card for a cell; its network leads nowhere.
        "pci: enabled=1, chipset=i440fx, slot2=e1000".to_owned(),
        "e1000: enabled=1, mac=52:54:00:12:34:56, ethmod=null".to_owned(),
        format!("com1: enabled=1, mode=file, dev={}", console.display()),
        format!("com2: enabled=1, mode=file, dev={}", file("monitor.log")),
        format!("log: {}", file("bochs.log")),
        "panic: action=fatal".to_owned(),
        "error: action=ignore".to_owned(),
        "info: action=ignore".to_owned(),
        "debug: action=ignore".to_owned(),
    ]
    .join("\n")
}

fn disc(paths: &Paths, scenario: &Scenario, image: &RootImage, dir: &Path) -> Result<()> {
    let tree = dir.join("disc");
    crate::paths::make_dir(&tree.join("boot/grub"))?;
    let copy = |from: &Path, to: &str| {
        std::fs::copy(from, tree.join("boot").join(to))
            .with_context(|| format!("cannot copy {} to the CD image", from.display()))
    };
    copy(&image.kernel.image, "vmlinuz")?;
    copy(&image.initramfs, "initrd")?;
    let cmdline = format!("{CMDLINE} {}", scenario.root.cmdline);
    let menu = format!(
        "{GRUB}linux /boot/vmlinuz {}\ninitrd /boot/initrd\n}}\n",
        cmdline.trim()
    );
    std::fs::write(tree.join("boot/grub/grub.cfg"), menu).context("cannot write grub.cfg")?;
    Cmd::new("grub-mkrescue")
        .args([
            "-d",
            "/usr/lib/grub/i386-pc",
            "--locales=",
            "--themes=",
            "-o",
        ])
        .arg(dir.join("boot.iso"))
        .arg(&tree)
        .run(paths, "grub-mkrescue")?;
    std::fs::remove_dir_all(&tree).context("cannot remove the CD's tree")
}
