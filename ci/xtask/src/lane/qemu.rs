//! QEMU's command line, for stock and patched QEMU, TCG and KVM.

use super::{Console, Power, topology};
use crate::emulators::FIRMWARE;
use crate::image::RootImage;
use crate::scenario::{Cable, Machine, Scenario};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What runs a guest's instructions.
#[derive(Debug)]
pub(crate) struct Cpu {
    /// QEMU's accelerator.
    pub(crate) accelerator: &'static str,
    /// QEMU's CPU model.
    pub(crate) model: &'static str,
}

/// The host's own virtualization, nested.
pub(super) const NESTED: Cpu = Cpu {
    accelerator: "kvm",
    model: "host",
};

/// The patched QEMU's VT-x; without `check=off` it lists what TCG lacks.
pub(crate) const VMX: Cpu = Cpu {
    accelerator: "tcg,thread=multi",
    model: "Icelake-Server-v1,+vmx,check=off",
};

/// Stock QEMU's AMD-V.
pub(super) const SVM: Cpu = Cpu {
    accelerator: "tcg,thread=multi",
    model: "EPYC-v4,+x2apic,check=off",
};

/// Words of every root's command line: its console, no DMA remapping by Linux
/// (it is the monitor's), a reboot instead of a halt after a panic, no check of
/// the timer interrupt (it fails on a busy host, where vCPUs wait for CPUs), and
/// nothing that only costs time under emulation.
const CMDLINE: &str = "console=ttyS0 intel_iommu=off panic=-1 loglevel=5 mitigations=off \
    random.trust_cpu=on nmi_watchdog=0 no_timer_check rdinit=/init";

/// The NVMe controller: four virtual functions, each with an admin queue, an
/// I/O queue and an interrupt vector for either. Namespaces of cells are
/// attached to nothing, that of the root to the controller itself: each virtual
/// function has a bus for namespaces, too, so theirs is named.
const NVME: &[&str] = &[
    "nvme-subsys,id=ss0",
    "nvme,id=nvme,serial=cellvisor,subsys=ss0,sriov_max_vfs=4,sriov_vq_flexible=8,\
     sriov_vi_flexible=8,max_ioqpairs=12,msix_qsize=13,bus=rp2",
    "nvme-ns,bus=nvme,drive=d1,nsid=1,shared=on,detached=on",
    "nvme-ns,bus=nvme,drive=d2,nsid=2,shared=on,detached=on",
    "nvme-ns,bus=nvme,drive=d3,nsid=3,shared=off",
];

/// Words of every machine: nothing that is not asked for.
pub(super) const PLAIN: &[&str] = &["-nodefaults", "-no-user-config", "-display", "none"];

/// An end instead of a reset.
pub(super) const NO_REBOOT: &str = "-no-reboot";

/// Where the emulator takes commands, in the run's folder.
pub(super) const PANEL: &str = "panel";

/// Lets it take commands there.
pub(super) fn panel(dir: &Path) -> [String; 2] {
    let path = dir.join(PANEL);
    let socket = format!("unix:{},server=on,wait=off", path.display());
    ["-monitor".to_owned(), socket]
}

/// The emulator with all its arguments.
pub(super) fn power(
    binary: &Path,
    cpu: &Cpu,
    scenario: &Scenario,
    image: &RootImage,
    dir: &Path,
) -> Result<Power> {
    let machine = &scenario.machine;
    let mut words: Vec<String> = PLAIN.iter().map(|word| (*word).to_owned()).collect();
    if image.system.is_none() {
        words.push(NO_REBOOT.to_owned());
    }
    let hmat = if machine.access.is_some() {
        ",hmat=on"
    } else {
        ""
    };
    let board = format!("q35,kernel-irqchip=split{hmat}");
    words.extend(["-machine".to_owned(), board]);
    words.extend(processor(cpu, machine));
    words.extend(topology::words(cpu, machine, memory(cpu, machine))?);
    words.extend(serial(dir));
    if machine.uart_pair {
        words.extend(uart_pair(dir));
    }
    if machine.uart_pci {
        words.extend(uart_pci(dir));
    }
    words.extend(devices(machine, &image.disks));
    words.extend(machine.cable.iter().flat_map(network_card));
    if let Some([system, job]) = &image.system {
        // What is written to the system is gone afterwards.
        words.extend(disk("system", system, ",snapshot=on"));
        words.extend(disk("job", job, ""));
    }
    if let Some(plugin) = &machine.plugin {
        words.extend(["-plugin".to_owned(), plugin.clone()]);
    }

    let mut command = Command::new(binary);
    command.args(FIRMWARE.iter().flat_map(|dir| ["-L", dir]));
    command.args(words);
    command.arg("-kernel").arg(&image.kernel.image);
    command.arg("-initrd").arg(&image.initramfs);
    command
        .arg("-append")
        .arg(format!("{CMDLINE} {}", scenario.root.cmdline).trim());
    Ok(Power {
        command,
        console: Console::Output,
    })
}

fn processor(cpu: &Cpu, machine: &Machine) -> Vec<String> {
    let mut model = cpu.model.to_owned();
    for feature in &machine.cpu_features {
        model.push(',');
        model.push_str(feature);
    }
    ["-accel", cpu.accelerator, "-cpu", &model]
        .map(str::to_owned)
        .to_vec()
}

/// MiB of RAM below which q35 has none above 4 GiB.
const LOW_MEMORY_MIB: u32 = 2800;

/// MiB of RAM. The QEMU of the lanes with KVM (10.0.2) makes 32-bit BARs of virtual
/// functions although the SR-IOV capability tells 64 bits, so above 4 GiB nothing
/// answers there. `SeaBIOS` places prefetchable windows there where RAM is, too, and the
/// CPU's width is known: on AMD with 40 bits, not on Intel with as many.
fn memory(cpu: &Cpu, machine: &Machine) -> u32 {
    let virtual_functions = machine.igb || machine.nvme;
    match cpu.accelerator {
        "kvm" if virtual_functions => machine.memory_mib.min(LOW_MEMORY_MIB),
        _ => machine.memory_mib,
    }
}

/// The root's console on standard output, the monitor's log in a file.
fn serial(dir: &Path) -> Vec<String> {
    let log = dir.join("monitor.log");
    vec![
        "-chardev".to_owned(),
        "stdio,id=root,signal=off".to_owned(),
        "-serial".to_owned(),
        "chardev:root".to_owned(),
        "-serial".to_owned(),
        format!("file:{}", log.display()),
    ]
}

/// Two more ports, each the other's peer.
fn uart_pair(dir: &Path) -> Vec<String> {
    let port = |id: &str| ["-serial".to_owned(), format!("chardev:{id}")];
    [&pair(dir)[..], &port("near"), &port("far")].concat()
}

/// One more port, and a card that is its peer.
fn uart_pci(dir: &Path) -> Vec<String> {
    let port = ["-serial", "chardev:near"].map(str::to_owned);
    let card = ["-device", "pci-serial,chardev=far,addr=5"].map(str::to_owned);
    [&pair(dir)[..], &port, &card].concat()
}

/// Two ends of a line, `near` and `far`.
fn pair(dir: &Path) -> Vec<String> {
    let socket = dir.join("uart-pair");
    let end = |id: &str, role: &str| {
        [
            "-chardev".to_owned(),
            format!("socket,id={id},path={},{role}", socket.display()),
        ]
    };
    [end("near", "server=on,wait=off"), end("far", "server=off")].concat()
}

/// A disk of a root that has its system on one.
fn disk(id: &str, file: &Path, more: &str) -> [String; 4] {
    let drive = format!("file={},if=none,id={id},format=raw{more}", file.display());
    let device = format!("virtio-blk-pci,drive={id}");
    ["-drive".to_owned(), drive, "-device".to_owned(), device]
}

/// A network card at an end of a cable.
fn network_card(cable: &Cable) -> [String; 4] {
    let Cable { near, far, number } = cable;
    let (near, far) = (near.display(), far.display());
    let ends = format!(
        "dgram,id=cable,local.type=unix,local.path={near},remote.type=unix,remote.path={far}"
    );
    let card = format!("e1000e,netdev=cable,mac=52:54:00:00:00:{number:02x}");
    ["-netdev".to_owned(), ends, "-device".to_owned(), card]
}

fn devices(machine: &Machine, disks: &[PathBuf]) -> Vec<String> {
    let mut words = Vec::new();
    let mut device = |text: &str| words.extend(["-device".to_owned(), text.to_owned()]);
    if machine.iommu {
        device("intel-iommu,intremap=on,eim=on");
    }
    device("pcie-root-port,id=rp1,slot=1");
    device("pcie-root-port,id=rp2,slot=2");
    machine.devices.iter().for_each(|text| device(text));
    if machine.igb {
        device("igb,netdev=n0,bus=rp1");
    }
    if machine.nvme {
        NVME.iter().for_each(|text| device(text));
    }
    if machine.igb {
        words.extend(["-netdev".to_owned(), "user,id=n0".to_owned()]);
    }
    for (number, disk) in disks.iter().enumerate() {
        let id = number + 1;
        let drive = format!("file={},if=none,id=d{id},format=raw", disk.display());
        words.extend(["-drive".to_owned(), drive]);
    }
    words
}
