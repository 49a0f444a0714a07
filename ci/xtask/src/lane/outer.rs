//! Machines in machines: an emulated one whose Linux offers KVM, in which the
//! machine of the lane `kvm` runs.
//!
//! The inner machine's files come on a disk, the job; its console and the
//! monitor's log go out through ports.

use super::qemu::{self, Cpu};
use super::{Console, Power};
use crate::emulators::{self, FIRMWARE};
use crate::image::{RootImage, ext4, outer};
use crate::paths::{Paths, make_dir};
use crate::scenario::Scenario;

use crate::sh;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the job is in the outer system.
const JOB: &str = "/job";

/// Memory of the outer machine besides that of the inner one, in MiB: Linux,
/// QEMU, and what they keep of the disks.
const MEMORY_MIB: u32 = 1536;

/// MiB of the inner machine's memory that are swapped out each second, where the
/// scenario says so, and the bytes of the disk that they go to.
const SWAP: (u32, u64) = (4, 1 << 30);

/// Room on the job's disk besides what is on it, in bytes.
const SLACK: u64 = 64 << 20;

/// The outer kernel's command line; its console is for those who look for what
/// went wrong.
const CMDLINE: &str = "console=ttyS0 panic=-1 loglevel=6 mitigations=off random.trust_cpu=on \
    nmi_watchdog=0 no_timer_check rdinit=/init";

/// The outer machine with the inner one in it: `binary` and `cpu` are the outer
/// one's, `module` is its KVM's.
pub(super) fn power(
    paths: &Paths,
    (binary, cpu, module): (&Path, &Cpu, &str),
    scenario: &Scenario,
    image: &RootImage,
    dir: &Path,
) -> Result<Power> {
    let system = outer::files(paths)?;
    let job = job(paths, scenario, image, dir)?;
    let memory = scenario.machine.memory_mib + MEMORY_MIB;
    let mut command = Command::new(binary);
    command.args(FIRMWARE.iter().flat_map(|dir| ["-L", dir]));
    command
        .args(qemu::PLAIN)
        .args([qemu::NO_REBOOT, "-machine", "q35"]);
    command.args(["-accel", cpu.accelerator, "-cpu", cpu.model]);
    command.args(["-smp", &scenario.machine.all_cpus().to_string()]);
    command.args(["-m", &format!("{memory}M")]);
    command.args(ports(dir));
    command.args(disk("system", &system.system, ",readonly=on"));
    command.args(disk("job", &job, ""));
    command.arg("-kernel").arg(&system.kernel);
    command.arg("-initrd").arg(&system.initramfs);
    let mut cmdline = format!("{CMDLINE} cellvisor.kvm={module}");
    if scenario.machine.host_swaps {
        let (rate, size) = SWAP;
        let file = dir.join("swap.img");
        ext4::empty(&file, size)?;
        command.args(disk("swap", &file, ""));
        let _ = write!(cmdline, " cellvisor.swap={rate}");
    }
    command.args(["-append", &cmdline]);
    Ok(Power {
        command,
        console: Console::Output,
    })
}

/// Makes the job's disk: the machine of the lane `kvm`, its command line in
/// `run`.
fn job(paths: &Paths, scenario: &Scenario, image: &RootImage, dir: &Path) -> Result<PathBuf> {
    let tree = dir.join("job");
    make_dir(&tree)?;
    let mut size = SLACK;
    let mut bring = |file: &Path| -> Result<PathBuf> {
        let name = file.file_name().context("a file without a name")?;
        let to = tree.join(name);
        // A second name is as good as a copy, where there can be one.
        if std::fs::hard_link(file, &to).is_err() {
            std::fs::copy(file, &to)
                .with_context(|| format!("cannot copy {} to the job", file.display()))?;
        }
        size += std::fs::metadata(&to).map_or(0, |data| data.len());
        Ok(Path::new(JOB).join(name))
    };
    let mut inner = image.clone();
    inner.kernel.image = bring(&image.kernel.image)?;
    inner.initramfs = bring(&image.initramfs)?;
    inner.disks = image
        .disks
        .iter()
        .map(|disk| bring(disk))
        .collect::<Result<_>>()?;
    let stock = emulators::stock()?;
    let power = qemu::power(&stock, &qemu::NESTED, scenario, &inner, Path::new(JOB))?;
    let run = format!("exec chroot /system {}\n", sh::line(&power.command));
    std::fs::write(tree.join("run"), &run).context("cannot write the job")?;
    std::fs::write(dir.join("inner-command.txt"), &run).context("cannot write the job")?;
    let disk = dir.join("job.img");
    ext4::make(paths, &tree, &disk, size + size / 8, "job")?;
    std::fs::remove_dir_all(&tree).context("cannot remove the job's tree")?;
    Ok(disk)
}

/// The outer console, the inner root's, and the monitor's log.
fn ports(dir: &Path) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    vec![
        "-serial".to_owned(),
        format!("file:{}", file("outer.log")),
        "-chardev".to_owned(),
        "stdio,id=root,signal=off".to_owned(),
        "-serial".to_owned(),
        "chardev:root".to_owned(),
        "-chardev".to_owned(),
        format!("file,id=monitor,path={}", file("monitor.log")),
        "-device".to_owned(),
        "virtio-serial-pci".to_owned(),
        "-device".to_owned(),
        "virtserialport,chardev=monitor".to_owned(),
    ]
}

fn disk(id: &str, file: &Path, more: &str) -> [String; 4] {
    [
        "-drive".to_owned(),
        format!("if=none,id={id},format=raw,file={}{more}", file.display()),
        "-device".to_owned(),
        format!("virtio-blk-pci,drive={id}"),
    ]
}
