//! The command line.

use crate::complete::{cells, owners};
use crate::state::DEFAULT_DIR;
use crate::system_plan::Provoke;
use cellvisor_abi::ioctl::DEVICE;
use cellvisor_planner::config::name::{self, BadName};
use cellvisor_planner::size::Size;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use ipnet::Ipv4Net;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where packages put the monitor's image.
const IMAGE: &str = "/usr/lib/cellvisor/cellvisor.bin";

/// Slice files that `apply` takes without being told.
const SLICES: &str = "/etc/cellvisor/slices";

/// Carves slices out of this machine: creates, starts, watches and destroys
/// cells under the cellvisor monitor.
#[derive(Debug, Parser)]
#[command(name = "cellctl", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Print JSON instead of text, where there is something to print.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Device of the driver.
    #[arg(long, global = true, value_name = "PATH", default_value = DEVICE, hide = true)]
    pub(crate) device: PathBuf,
    /// Folder for what must be remembered between calls.
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_DIR, hide = true)]
    pub(crate) state_dir: PathBuf,
    /// Folder of the slices that this machine shall have.
    #[arg(long, global = true, value_name = "DIR", default_value = SLICES, hide = true)]
    pub(crate) slices_dir: PathBuf,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused or failed, nothing is changed; \
    2 wrong usage; 3 driver, monitor or cell is not there; 4 time ran out.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Turn the monitor on under the running Linux.
    Enable(Enable),
    /// Turn the monitor off; this Linux has the whole machine again.
    Disable(Disable),
    /// Create cells from slice files; turns the monitor on if it is off.
    Create(Create),
    /// Load and start cells: those named, or all that are loadable.
    Start(Start),
    /// Run a slice as a service: create, start and follow it until it ends.
    Run(Run),
    /// Press a cell's power button, and cut its power if it does not power off.
    Stop(Stop),
    /// Cut a cell's power at once.
    Kill(Name),
    /// Send an NMI to a running cell, for its kernel to tell or to end what it does.
    Nmi(Name),
    /// Stop a cell as `stop` does, load it again and start it.
    Restart(Stop),
    /// Destroy cells and give CPUs and memory back to this Linux.
    Destroy(SomeNames),
    /// Bring cells to what slice files say: create, change and start them.
    Apply(Apply),
    /// Show what `apply` would do.
    Diff(Diff),
    /// Have `apply` without files take a cell's file as well, as at each boot.
    Autostart(Autostart),
    /// Change the file that defines a slice for this machine.
    Edit(Edit),
    /// List the cells.
    List,
    /// Show a cell, or the monitor, in detail.
    #[command(visible_alias = "show")]
    Status(MaybeName),
    /// Show exits by CPU and reason.
    Stats(Stats),
    /// Watch cells: CPUs, memory, exits a second, refused accesses.
    Top(Top),
    /// Print what the monitor counts, in Prometheus' text format.
    Metrics(Metrics),
    /// Write what a cell that ended left in its memory to a file, as an ELF core.
    Dump(Dump),
    /// Show what happens to cells, a line for each event.
    Events(Events),
    /// Show and use a cell's console.
    Console(Console),
    /// Show the monitor's log.
    Log(Log),
    /// Tell what this machine has and lacks, or what is wrong in slice files.
    Check(Check),
    /// Show what slices would get, and why.
    Plan(Plan),
    /// Write a slice file that divides a whole machine.
    Generate(Generate),
    /// Make what cells boot: disks with a system, its kernel and initial RAM disk.
    #[command(subcommand)]
    Image(Box<Image>),
    /// Write the ACPI tables that slices would get.
    Acpi(Acpi),
    /// Show this machine as the planner sees it.
    Host(HostArgs),
    /// Watch a cell and start it again as its policy says.
    #[command(hide = true)]
    Supervise(Name),
    /// Write man pages to the folders man1 and man5 of a folder.
    Man {
        /// The folder, such as /usr/local/share/man.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Write what makes a shell complete `cellctl` to standard output.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

impl Verb {
    /// True for what changes cells or reads what is inside of them.
    pub(crate) const fn manages(&self) -> bool {
        matches!(
            self,
            Self::Enable(_)
                | Self::Disable(_)
                | Self::Create(_)
                | Self::Start(_)
                | Self::Run(_)
                | Self::Stop(_)
                | Self::Kill(_)
                | Self::Nmi(_)
                | Self::Restart(_)
                | Self::Destroy(_)
                | Self::Apply(_)
                | Self::Dump(_)
                | Self::Console(_)
                | Self::Log(_)
        )
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Enable {
    /// The monitor's image.
    #[arg(long, value_name = "PATH", default_value = IMAGE)]
    pub(crate) image: PathBuf,
    /// I/O port of a 16550 UART on which the monitor repeats its log.
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    pub(crate) log_port: Option<u16>,
    /// Memory for the monitor, such as 16MiB; by default what the machine needs.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Provoke a failure: fail-cpu=N, late-cpu=N, tsc-khz=N, fault-at-port=N.
    #[arg(long, hide = true, value_parser = parse_inject)]
    pub(crate) inject: Option<Provoke>,
}

#[derive(Debug, Args)]
pub(crate) struct Disable {
    /// Stop and destroy all cells first.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Slice files; - is standard input.
    #[arg(required = true, value_name = "FILE.toml")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) enable: Enable,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Slice files; - is standard input. Without them, those in
    /// /etc/cellvisor/slices.
    #[arg(value_name = "FILE.toml")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) enable: Enable,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Slice files; - is standard input. Without them, those in
    /// /etc/cellvisor/slices.
    #[arg(value_name = "FILE.toml")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Autostart {
    /// The cell.
    #[arg(value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) name: String,
    /// Do not take it any more.
    #[arg(long)]
    pub(crate) off: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The slice; its file is NAME.toml in /etc/cellvisor/slices.
    #[arg(value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) name: String,
}

/// What `image` does.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Make a Debian system that boots with its stock kernel and systemd.
    Build(Box<ImageBuild>),
    /// Take a disk image that was downloaded, such as a cloud image.
    Import(ImageImport),
}

/// Where an image goes.
#[derive(Debug, Args)]
pub(crate) struct ImagePlace {
    /// A new file for the disk; kernel and initial RAM disk go beside it.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "namespace",
        conflicts_with = "namespace"
    )]
    pub(crate) out: Option<PathBuf>,
    /// The block device of an NVMe namespace, such as /dev/nvme0n2, or its number.
    #[arg(long, value_name = "DEVICE|NUMBER")]
    pub(crate) namespace: Option<PathBuf>,
    /// With --namespace, the folder for kernel and initial RAM disk.
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with = "out")]
    pub(crate) boot: PathBuf,
    /// What is in the namespace may go.
    #[arg(long, conflicts_with = "out")]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImageBuild {
    #[command(flatten)]
    pub(crate) place: ImagePlace,
    /// Debian's release.
    #[arg(long, default_value = "bookworm")]
    pub(crate) suite: String,
    /// Where packages come from, as mmdebstrap takes it.
    #[arg(long, value_name = "URL")]
    pub(crate) mirror: Option<String>,
    /// Size of the file; its zeros take no room.
    #[arg(long, default_value = "4GiB", value_parser = parse_size, conflicts_with = "namespace")]
    pub(crate) size: u64,
    /// More packages, with commas between them.
    #[arg(long, value_name = "PACKAGES", value_delimiter = ',')]
    pub(crate) include: Vec<String>,
    /// Name of the system.
    #[arg(long, value_name = "NAME", default_value = "cell")]
    pub(crate) hostname: String,
    /// Its user, who may use sudo.
    #[arg(long, value_name = "NAME", default_value = "debian")]
    pub(crate) user: String,
    /// File with the public keys by which the user comes in by ssh.
    #[arg(long, value_name = "FILE")]
    pub(crate) ssh_key: PathBuf,
    /// Address and prefix of its Ethernet function, instead of DHCP.
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    pub(crate) address: Option<String>,
    /// Its gateway.
    #[arg(long, requires = "address")]
    pub(crate) gateway: Option<IpAddr>,
    /// Its name servers.
    #[arg(long, value_name = "ADDRESS", requires = "address")]
    pub(crate) dns: Vec<IpAddr>,
    /// A file of this machine to go into it, with its mode (may be given more than once).
    #[arg(long, value_name = "FILE:/PATH[:OWNER]")]
    pub(crate) copy: Vec<String>,
    /// A script that each copy of it runs once, as root, when it boots first.
    #[arg(long, value_name = "SCRIPT")]
    pub(crate) first_boot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImageImport {
    /// The image, raw or qcow2.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) place: ImagePlace,
}

#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The cell.
    #[arg(value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A file with one slice.
    #[arg(value_name = "FILE.toml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) enable: Enable,
}

#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// Answer one request of HTTP/1.1 on standard input, as a service of a socket.
    #[arg(long)]
    pub(crate) http: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The cell.
    #[arg(value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) name: String,
    /// Wait so many seconds for its kernel instead of what its file says; 0 cuts
    /// the power at once.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) timeout: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct MaybeName {
    /// The cell; without it, the monitor.
    #[arg(value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// The cells.
    #[arg(value_name = "NAME", value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The cells.
    #[arg(value_name = "NAME", value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) names: Vec<String>,
    /// Boot this kernel instead of the slice's: an installer, a rescue system. The next
    /// start boots the slice's again, and so does a restart that the cell asks for.
    #[arg(long, value_name = "FILE", requires = "names")]
    pub(crate) kernel: Option<PathBuf>,
    /// Its initial RAM disk, more than once for several, one behind the other; the slice's
    /// belong to the slice's kernel.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initrd: Vec<PathBuf>,
    /// Its command line.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "kernel",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) cmdline: String,
    /// Restarts that the cell asks for boot it as well.
    #[arg(long, requires = "kernel")]
    pub(crate) again: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SomeNames {
    /// The cells.
    #[arg(value_name = "NAME", required = true, value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Only this cell's CPUs; `root` for this Linux.
    #[arg(value_parser = parse_owner, add = ArgValueCandidates::new(owners))]
    pub(crate) name: Option<String>,
    /// Count for so many seconds and show only what came in that time.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) interval: Option<f64>,
    /// The same, and fail unless the cell ran and made none but quiet exits: CPUID,
    /// interrupts to its own CPUs, and what the monitor asked it for.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, requires = "name", conflicts_with = "interval")]
    pub(crate) expect_quiet: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Look so many seconds apart.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_seconds)]
    pub(crate) interval: f64,
    /// End after so many looks.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// The cell.
    #[arg(value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) name: String,
    /// The file, which must be new.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only what happens to this cell.
    #[arg(value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) name: Option<String>,
    /// Leave out the states at the beginning.
    #[arg(long)]
    pub(crate) new: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Console {
    /// The cell.
    #[arg(value_parser = parse_name, add = ArgValueCandidates::new(cells))]
    pub(crate) name: String,
    /// Print what was said so far and end.
    #[arg(long, conflicts_with_all = ["expect", "limit", "send"])]
    pub(crate) no_follow: bool,
    /// Go on until the cell ends (the default).
    #[arg(long, conflicts_with = "no_follow")]
    pub(crate) follow: bool,
    /// Leave out what was said before.
    #[arg(long, conflicts_with = "all")]
    pub(crate) new: bool,
    /// Begin with what was said before the cell's last start, as far as it is
    /// still kept.
    #[arg(long)]
    pub(crate) all: bool,
    /// End after so many seconds; with --expect, exit code 4 then.
    #[arg(long = "for", id = "limit", value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) limit: Option<f64>,
    /// End as soon as this text was said.
    #[arg(long, value_name = "TEXT")]
    pub(crate) expect: Option<String>,
    /// Type this text first; \n and \r stand for line feed and return.
    #[arg(long, value_name = "TEXT")]
    pub(crate) send: Option<String>,
    /// Look on: take no input, and leave typing to others.
    #[arg(long, conflicts_with_all = ["send", "pty"])]
    pub(crate) read_only: bool,
    /// Make a pseudo-terminal and print its path, for screen, cu or minicom.
    #[arg(long, conflicts_with_all = ["send", "expect", "no_follow"])]
    pub(crate) pty: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Go on with what comes.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Slice files, - is standard input; without them, the machine is checked.
    #[arg(value_name = "FILE.toml")]
    pub(crate) files: Vec<PathBuf>,
    /// Use a saved host instead of this machine.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Slice files; - is standard input.
    #[arg(required = true, value_name = "FILE.toml")]
    pub(crate) files: Vec<PathBuf>,
    /// Use a saved host instead of this machine. Named more than once: tell which of
    /// these machines takes which slice, each the first one on which it fits.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<PathBuf>,
    /// Draw the machine into this file, which is new or a picture.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Draw the machine in the terminal.
    #[arg(long)]
    pub(crate) text: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// How to divide the machine.
    #[arg(long, value_enum)]
    pub(crate) policy: Policy,
    /// With cluster: make a slice of the boot CPU's node as well, all but that CPU's core.
    #[arg(long)]
    pub(crate) boot_node: bool,
    /// Join all slices and this Linux by a network with these addresses, as in 10.1.2.0/24.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) addresses: Option<Ipv4Net>,
    /// Use a saved host instead of this machine.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<PathBuf>,
    /// Kernel of all slices; relative to the file that the output goes to.
    #[arg(long, value_name = "FILE", default_value = "vmlinuz")]
    pub(crate) image: String,
    /// Initial RAM disk of all slices; given several times, its files in this order.
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Vec<String>,
}

/// How a machine is divided.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Policy {
    /// A slice for each NUMA node; the boot CPU's stays with this Linux.
    Cluster,
    /// A slice for each core.
    Partition,
}

#[derive(Debug, Args)]
pub(crate) struct Acpi {
    /// Slice files; - is standard input.
    #[arg(required = true, value_name = "FILE.toml")]
    pub(crate) files: Vec<PathBuf>,
    /// Use a saved host instead of this machine.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<PathBuf>,
    /// Folder that gets a folder for each slice, with a file for each table.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// Use a saved host instead of this machine.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<PathBuf>,
    /// Save it to a file that --host of other commands takes.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// List all PCI functions.
    #[arg(long)]
    pub(crate) functions: bool,
    /// Print what a scheduler needs to know, as JSON: what there is, what cells have
    /// of it, and what further ones could have.
    #[arg(long, conflicts_with_all = ["functions", "save"])]
    pub(crate) inventory: bool,
}

/// A port as 0x2f8 or 760.
fn parse_port(text: &str) -> Result<u16, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.map_err(|_| "an I/O port is 0 to 65535, such as 0x2f8".into())
}

/// A size as 16MiB.
fn parse_size(text: &str) -> Result<u64, String> {
    match text.parse::<Size>() {
        Ok(Size(0)) => Err("a size must be more than 0".into()),
        Ok(Size(bytes)) => Ok(bytes),
        Err(e) => {
            let instead = e.instead.clone().unwrap_or_else(|| "16MiB".into());
            Err(format!("{e}: write {instead}, for example"))
        }
    }
}

/// The name of a cell. What cells cannot be called is no part of a path.
fn parse_name(text: &str) -> Result<String, String> {
    match name::check(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(bad) => Err(format!("no cell is called so: {}", bad.help())),
    }
}

/// The name of a cell, or `root`.
fn parse_owner(text: &str) -> Result<String, String> {
    match name::check(text) {
        Err(BadName::Reserved) => Ok(text.to_owned()),
        _ => parse_name(text),
    }
}

/// Seconds, with a fraction if need be.
fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|s: &f64| (0.0..=1e9).contains(s))
        .ok_or_else(|| "a number of seconds, such as 2 or 0.5".into())
}

/// `fail-cpu=N` and others.
fn parse_inject(text: &str) -> Result<Provoke, String> {
    let (what, number) = text.split_once('=').unwrap_or_default();
    match (what, number.parse()) {
        ("fail-cpu", Ok(index)) => Ok(Provoke::FailCpu(index)),
        ("late-cpu", Ok(index)) => Ok(Provoke::LateCpu(index)),
        ("tsc-khz", Ok(khz)) => Ok(Provoke::TscKhz(khz)),
        ("step", Ok(number)) => Ok(Provoke::Step(number)),
        ("fault-at-port", Ok(port)) => u16::try_from(port)
            .map(Provoke::FaultAtPort)
            .map_err(|_| "a port is below 65536".into()),
        _ => Err("fail-cpu=N, late-cpu=N, tsc-khz=N, step=N or fault-at-port=N".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_whole_and_not_zero() {
        assert_eq!(parse_size("16MiB"), Ok(16 << 20));
        for wrong in ["MiB", "0KiB", "99999999999GiB", "1.5GiB", "16MB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_without_a_unit_are_told_what_to_write() {
        let told = "the unit is missing: write 16MiB, for example";
        assert_eq!(parse_size("16"), Err(told.to_owned()));
    }

    #[test]
    fn names_are_no_paths() {
        let told =
            "no cell is called so: use 1 to 31 of a-z, 0-9, - and _, a letter or digit first";
        for wrong in ["../x", "", "a/b", "-h"] {
            assert_eq!(parse_name(wrong), Err(told.to_owned()), "{wrong}");
        }
        assert_eq!(parse_owner("root"), Ok("root".to_owned()));
        assert!(parse_name("root").is_err() && parse_owner("../x").is_err());
    }

    #[test]
    fn show_is_status_and_nothing_shuts_down_by_cutting_power() {
        let verb = |args: &[&str]| Cli::try_parse_from(args).map(|cli| cli.verb);
        let show = verb(&["cellctl", "show", "a"]).expect("known");
        assert!(matches!(show, Verb::Status(MaybeName { name: Some(n) }) if n == "a"));
        assert!(verb(&["cellctl", "shutdown", "a"]).is_err());
    }

    #[test]
    fn ports_are_hexadecimal_or_decimal() {
        assert_eq!(parse_port("0x2f8"), Ok(0x2f8));
        assert_eq!(parse_port("760"), Ok(760));
        assert!(parse_port("0x10000").is_err());
    }

    #[test]
    fn seconds_are_not_negative() {
        assert_eq!(parse_seconds("0.5"), Ok(0.5));
        assert!(parse_seconds("-1").is_err() && parse_seconds("inf").is_err());
    }
}
