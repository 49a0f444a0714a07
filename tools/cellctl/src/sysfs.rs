//! What is asked of the running Linux through sysfs: CPUs on and off, huge
//! pages reserved and given back, packets forwarded.

use crate::error::{Error, Result};
use crate::nft;
use crate::output::size;
use crate::signals;
use crate::syscalls;
use ipnet::Ipv4Net;
use std::fs;
use std::path::{Path, PathBuf};
use vm_memory::MmapRegion;

/// Whether Linux forwards.
const FORWARD: &str = "proc/sys/net/ipv4/ip_forward";

/// Where huge pages come from: one NUMA node, or wherever Linux likes.
pub(crate) type Node = Option<u32>;

/// Linux, or in tests a stand-in for it.
pub(crate) trait Linux {
    /// True if Linux runs on this CPU.
    fn cpu_online(&self, cpu: u32) -> Result<bool>;
    /// Takes a CPU from Linux or gives it back; does nothing if it is so.
    fn set_cpu_online(&self, cpu: u32, online: bool) -> Result<()>;
    /// The signal that asked this process to end, if one did.
    fn interrupted(&self) -> Option<&'static str>;
    /// True if Linux keeps the siblings of its CPUs offline (`nosmt`).
    fn siblings_stay_offline(&self) -> bool;
    /// Huge pages of `page_size` bytes in the pool of `node`.
    fn huge_pages(&self, node: Node, page_size: u64) -> Result<Pool>;
    /// Sets the size of the pool in pages; returns what Linux made of it.
    fn set_huge_pages(&self, node: Node, page_size: u64, pages: u64) -> Result<u64>;
    /// Makes Linux put free memory together, so that more huge pages can be had.
    fn compact_memory(&self);
    /// Takes `pages` huge pages of `node` out of the pool, zeroed.
    fn map_huge(&self, node: Node, page_size: u64, pages: u64) -> Result<MmapRegion>;
    /// True if it forwards packets between its networks.
    fn forwards(&self) -> Result<bool>;
    /// Has it forward packets, or not.
    fn set_forwards(&self, on: bool) -> Result<()>;
    /// Puts a link's table of [`nft`] there, or an older one's in its place.
    fn put_table(&self, link: &str, network: Ipv4Net) -> Result<()>;
    /// Takes it away, if it is there; true if no other link has one.
    fn forget_table(&self, link: &str) -> Result<bool>;
}

/// A pool of huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Pages in it.
    pub(crate) total: u64,
    /// Pages that nobody uses or has a promise of.
    pub(crate) free: u64,
}

/// The real Linux; `root` is `/` outside of tests.
#[derive(Clone, Debug)]
pub(crate) struct Sysfs {
    root: PathBuf,
}

impl Sysfs {
    /// The Linux whose `sys` and `proc` lie under `root`.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A path below the root, named without its slash.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn cpu_path(&self, cpu: u32) -> PathBuf {
        self.path(&format!("sys/devices/system/cpu/cpu{cpu}/online"))
    }

    /// Folder of a pool. A kernel without NUMA has no node folders.
    fn pool_path(&self, node: Node, page_size: u64) -> PathBuf {
        let name = format!("hugepages-{}kB", page_size >> 10);
        let global = self.path("sys/kernel/mm/hugepages").join(&name);
        let Some(node) = node else { return global };
        let nodes = self.path("sys/devices/system/node");
        if nodes.is_dir() {
            nodes.join(format!("node{node}/hugepages")).join(name)
        } else {
            global
        }
    }
}

/// A number from a sysfs file.
pub(crate) fn read_number(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).map_err(|e| {
        Error::file(
            "cannot read",
            path,
            &e,
            "this kernel lacks the feature, or sysfs is not mounted on /sys",
        )
    })?;
    text.trim().parse().map_err(|_| {
        Error::new(
            format!("cannot read {}", path.display()),
            format!("\"{}\" is no number", text.trim()),
            "report it with your kernel's version",
        )
    })
}

impl Linux for Sysfs {
    fn cpu_online(&self, cpu: u32) -> Result<bool> {
        let path = self.cpu_path(cpu);
        // The boot CPU often has no such file: it cannot be taken offline.
        if !path.exists()
            && self
                .path(&format!("sys/devices/system/cpu/cpu{cpu}"))
                .is_dir()
        {
            return Ok(true);
        }
        read_number(&path).map(|n| n == 1)
    }

    fn set_cpu_online(&self, cpu: u32, online: bool) -> Result<()> {
        if self.cpu_online(cpu)? == online {
            return Ok(());
        }
        let path = self.cpu_path(cpu);
        let (what, help) = if online {
            (
                "cannot bring online",
                "see the end of `dmesg`; is `maxcpus=` on the kernel's command line?",
            )
        } else {
            (
                "cannot take offline",
                "choose another CPU; deadline tasks and CPU sets that need this one forbid it",
            )
        };
        fs::write(&path, if online { "1" } else { "0" })
            .map_err(|e| Error::new(format!("{what} CPU {cpu}"), e.to_string(), help))
    }

    fn interrupted(&self) -> Option<&'static str> {
        signals::came()
    }

    fn siblings_stay_offline(&self) -> bool {
        let control = fs::read_to_string(self.path("sys/devices/system/cpu/smt/control"));
        control.is_ok_and(|text| matches!(text.trim(), "off" | "forceoff"))
    }

    fn huge_pages(&self, node: Node, page_size: u64) -> Result<Pool> {
        let here = self.pool_path(node, page_size);
        let all = self.pool_path(None, page_size);
        let total = read_number(&here.join("nr_hugepages"))?;
        let free = read_number(&here.join("free_hugepages"))?;
        // Promises are counted for the whole machine only.
        let promised = read_number(&all.join("resv_hugepages"))?;
        let free_all = read_number(&all.join("free_hugepages"))?;
        Ok(Pool {
            total,
            free: free.min(free_all.saturating_sub(promised)),
        })
    }

    fn set_huge_pages(&self, node: Node, page_size: u64, pages: u64) -> Result<u64> {
        let path = self.pool_path(node, page_size).join("nr_hugepages");
        fs::write(&path, pages.to_string())
            .map_err(|e| Error::file("cannot write", &path, &e, "run this as root"))?;
        read_number(&path)
    }

    fn compact_memory(&self) {
        // Both only make success likelier, so a failure shows where pages lack.
        let _ = fs::write(self.path("proc/sys/vm/drop_caches"), "1");
        let _ = fs::write(self.path("proc/sys/vm/compact_memory"), "1");
    }

    fn map_huge(&self, node: Node, page_size: u64, pages: u64) -> Result<MmapRegion> {
        let bytes = pages * page_size;
        let what = format!(
            "cannot take {} in huge pages of {}",
            size(bytes),
            size(page_size)
        );
        let help = "look at `cellctl check`; other programs may have taken the pages";
        let length = usize::try_from(bytes).map_err(|e| Error::internal(&what, e))?;
        let order = libc::c_int::try_from(page_size.trailing_zeros())
            .map_err(|e| Error::internal(&what, e))?;
        let region = MmapRegion::build(
            None,
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            // Shared, since Linux 6.12 promises the pages of a private mapping
            // to their pool again when it goes, which pages that stay pinned never reach:
            // fewer would seem promised than are, and others' promises would break.
            libc::MAP_SHARED
                | libc::MAP_ANONYMOUS
                | libc::MAP_HUGETLB
                | order << libc::MAP_HUGE_SHIFT,
        )
        .map_err(|e| Error::new(&what, e.to_string(), help))?;
        if let (Some(node), true) = (node, self.path("sys/devices/system/node").is_dir()) {
            syscalls::bind_to_node(&region, node)
                .map_err(|e| Error::new(&what, format!("node {node}: {e}"), help))?;
        }
        syscalls::populate(&region).map_err(|e| Error::new(&what, e.to_string(), help))?;
        Ok(region)
    }

    fn forwards(&self) -> Result<bool> {
        read_number(&self.path(FORWARD)).map(|n| n != 0)
    }

    fn set_forwards(&self, on: bool) -> Result<()> {
        let path = self.path(FORWARD);
        fs::write(&path, if on { "1" } else { "0" })
            .map_err(|e| Error::file("cannot write", &path, &e, "run this as root"))
    }

    fn put_table(&self, link: &str, network: Ipv4Net) -> Result<()> {
        nft::put(&nft::table(link, network))
    }

    fn forget_table(&self, link: &str) -> Result<bool> {
        nft::forget(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sysfs with one node, two CPUs and some huge pages.
    fn machine() -> (tempfile::TempDir, Sysfs) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("folder");
            fs::write(path, text).expect("file");
        };
        fs::create_dir_all(dir.path().join("sys/devices/system/cpu/cpu0")).expect("folder");
        put("sys/devices/system/cpu/cpu1/online", "1\n");
        for folder in [
            "sys/devices/system/node/node0/hugepages/hugepages-2048kB",
            "sys/kernel/mm/hugepages/hugepages-2048kB",
        ] {
            put(&format!("{folder}/nr_hugepages"), "8\n");
            put(&format!("{folder}/free_hugepages"), "5\n");
            put(&format!("{folder}/resv_hugepages"), "2\n");
        }
        let sysfs = Sysfs::new(dir.path());
        (dir, sysfs)
    }

    #[test]
    fn boot_cpu_without_a_switch_is_online() {
        let (_dir, sysfs) = machine();
        assert!(sysfs.cpu_online(0).expect("cpu0"));
        assert!(sysfs.cpu_online(7).is_err(), "no such CPU");
    }

    #[test]
    fn cpu_goes_offline_and_back() {
        let (_dir, sysfs) = machine();
        sysfs.set_cpu_online(1, false).expect("offline");
        assert!(!sysfs.cpu_online(1).expect("cpu1"));
        sysfs.set_cpu_online(1, true).expect("online");
        assert!(sysfs.cpu_online(1).expect("cpu1"));
    }

    #[test]
    fn promised_huge_pages_are_not_free() {
        let (_dir, sysfs) = machine();
        let pool = sysfs.huge_pages(Some(0), 2 << 20).expect("pool");
        assert_eq!(pool, Pool { total: 8, free: 3 });
    }

    #[test]
    fn pool_without_numa_is_the_machine_s() {
        let (dir, sysfs) = machine();
        fs::remove_dir_all(dir.path().join("sys/devices/system/node")).expect("removes");
        assert_eq!(sysfs.set_huge_pages(Some(0), 2 << 20, 9).expect("sets"), 9);
        assert_eq!(sysfs.huge_pages(None, 2 << 20).expect("pool").total, 9);
    }

    #[test]
    fn missing_pool_names_the_file() {
        let (_dir, sysfs) = machine();
        let error = sysfs
            .huge_pages(Some(0), 1 << 30)
            .expect_err("no 1 GiB pool");
        assert!(
            error
                .to_string()
                .contains("node0/hugepages/hugepages-1048576kB"),
            "{error}"
        );
    }
}
