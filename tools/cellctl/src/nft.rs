//! What Linux does with packets of links' networks: a table of nftables for each link
//! that leads outside, and for nothing else.

use crate::error::{Error, Result};
use ipnet::Ipv4Net;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Names of our tables begin so; a link's name follows.
const PREFIX: &str = "cellvisor-";

/// The table of a link: its network's packets leave under this Linux's addresses, and
/// none comes in but answers. Packets that lie about where they come from go nowhere.
pub(crate) fn table(link: &str, network: Ipv4Net) -> String {
    format!(
        "{}table ip {PREFIX}{link} {{
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname \"{link}\" ip saddr != {network} drop
    oifname \"{link}\" ct state established,related accept
    oifname \"{link}\" drop
  }}
  chain leave {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network} oifname != \"{link}\" masquerade
  }}
}}
",
        removal(link)
    )
}

/// Takes the table of a link away, whether it is there or not.
fn removal(link: &str) -> String {
    format!("add table ip {PREFIX}{link}\ndelete table ip {PREFIX}{link}\n")
}

/// Puts tables there, all or none of them.
pub(crate) fn put(tables: &str) -> Result<()> {
    nft(&["-f", "-"], tables).map(drop)
}

/// Takes the table of a link away; true if no other link has one.
pub(crate) fn forget(link: &str) -> Result<bool> {
    put(&removal(link))?;
    let tables = nft(&["list", "tables", "ip"], "")?;
    Ok(!tables.contains(&format!("table ip {PREFIX}")))
}

/// Runs nft with this input; what it says.
fn nft(words: &[&str], input: &str) -> Result<String> {
    let what = "cannot set how this Linux forwards for a link";
    let help = "install nftables, and run this as root";
    let failed = |e: std::io::Error| Error::new(what, format!("nft: {e}"), help);
    let mut command = Command::new("nft");
    command
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut to) = child.stdin.take() {
        to.write_all(input.as_bytes()).map_err(failed)?;
    }
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().map_err(failed)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&stderr);
    let told = told.lines().next().unwrap_or("no reason given");
    let help = "does this kernel have nf_tables, nft_chain_nat, nft_masq and nft_ct?";
    Err(Error::new(what, format!("nft says: {told}"), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_about_its_link_alone() {
        let network = "10.1.2.0/24".parse().expect("a network");
        let text = table("net", network);
        let begins =
            "add table ip cellvisor-net\ndelete table ip cellvisor-net\ntable ip cellvisor-net {";
        assert!(
            text.starts_with(begins),
            "whatever was there is replaced: {text}"
        );
        let rules: Vec<&str> = text
            .lines()
            .filter(|l| l.contains("if"))
            .map(str::trim)
            .collect();
        let told = [
            "iifname \"net\" ip saddr != 10.1.2.0/24 drop",
            "oifname \"net\" ct state established,related accept",
            "oifname \"net\" drop",
            "ip saddr 10.1.2.0/24 oifname != \"net\" masquerade",
        ];
        assert_eq!(rules, told);
    }
}
