//! The few messages of rtnetlink that set up network cards and their VFs.
//!
//! Spec: Linux `include/uapi/linux/rtnetlink.h` and `if_link.h`.

use super::Port;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, send, socket_with};
use std::io;

// Kinds of messages, and flags in their headers.
const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;

// Attributes.
const EXT_MASK: u16 = 29;
const VF_INFO_LIST: u16 = 22;
const VF_INFO: u16 = 1;
const VF_MAC: u16 = 1;
const VF_VLAN: u16 = 2;
/// Bits of an attribute's type that are its number.
const NUMBER: u16 = 0x3fff;

/// Asks for VFs as well (`RTEXT_FILTER_VF`).
const WITH_VFS: u32 = 1;
/// The interface is up (`IFF_UP`).
const UP: u32 = 1;

/// Bytes of a message's header, and of what follows in messages on links.
const HEADER: usize = 16;
const LINK: usize = 16;
/// Bytes of an attribute's header.
const ATTRIBUTE: usize = 4;
/// Longest answer: a card has up to 256 VFs of some hundred bytes.
const LONGEST: usize = 1 << 18;

/// MAC address and VLAN of VF `vf` of the interface with this index.
pub(super) fn port(interface: u32, vf: u16) -> io::Result<Port> {
    let mask = attribute(EXT_MASK, &WITH_VFS.to_le_bytes());
    let answer = exchange(&message(GET_LINK, REQUEST, interface, (0, 0), &mask))?;
    let body = answer.get(HEADER + LINK..).unwrap_or_default();
    find_port(body, vf)
        .ok_or_else(|| io::Error::other(format!("the card's driver says nothing about VF {vf}")))
}

/// Sets the MAC address of a VF.
pub(super) fn set_mac(interface: u32, vf: u16, mac: [u8; 6]) -> io::Result<()> {
    // The room is that of the longest hardware address.
    let mut value = [0; 36];
    value[..4].copy_from_slice(&u32::from(vf).to_le_bytes());
    value[4..10].copy_from_slice(&mac);
    set_vf(interface, &attribute(VF_MAC, &value))
}

/// Sets the VLAN of a VF; 0 for none.
pub(super) fn set_vlan(interface: u32, vf: u16, vlan: u16) -> io::Result<()> {
    let words = [u32::from(vf), u32::from(vlan), 0];
    let value: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    set_vf(interface, &attribute(VF_VLAN, &value))
}

/// Turns an interface on or off.
pub(super) fn set_link(interface: u32, up: bool) -> io::Result<()> {
    let flags = if up { UP } else { 0 };
    let change = message(NEW_LINK, REQUEST | ACKNOWLEDGE, interface, (flags, UP), &[]);
    exchange(&change).map(drop)
}

fn set_vf(interface: u32, setting: &[u8]) -> io::Result<()> {
    let list = attribute(VF_INFO_LIST, &attribute(VF_INFO, setting));
    let change = message(SET_LINK, REQUEST | ACKNOWLEDGE, interface, (0, 0), &list);
    exchange(&change).map(drop)
}

/// Sends a message and returns the answer; one that tells of an error becomes
/// that error.
fn exchange(message: &[u8]) -> io::Result<Vec<u8>> {
    // Protocol 0 is that of routes and links; the kernel answers to whoever
    // sends, so that no address has to be bound.
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    send(&socket, message, SendFlags::empty())?;
    let mut answer = vec![0; LONGEST];
    let (length, _) = recv(&socket, &mut *answer, RecvFlags::empty())?;
    answer.truncate(length);
    match error(&answer) {
        Some(0) | None => Ok(answer),
        Some(number) => Err(io::Error::from_raw_os_error(number.wrapping_neg())),
    }
}

/// The number in a message that tells of an error or, with 0, of success.
fn error(message: &[u8]) -> Option<i32> {
    let kind = message.get(4..)?.first_chunk()?;
    let number = message.get(HEADER..)?.first_chunk()?;
    (u16::from_le_bytes(*kind) == ERROR).then(|| i32::from_le_bytes(*number))
}

/// A message on a link: `flags` are its new flags and which of them count.
fn message(kind: u16, mode: u16, interface: u32, flags: (u32, u32), rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + LINK + rest.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(mode.to_le_bytes());
    // Sequence number and sender: of no use with one message to a socket.
    bytes.extend([0; 8]);
    // Address family and hardware type: any.
    bytes.extend([0; 4]);
    bytes.extend(interface.to_le_bytes());
    bytes.extend(flags.0.to_le_bytes());
    bytes.extend(flags.1.to_le_bytes());
    bytes.extend(rest);
    bytes
}

/// An attribute with its header, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The attributes in `bytes`: number and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_le_bytes(*bytes.first_chunk()?));
        let kind = u16::from_le_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(ATTRIBUTE..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & NUMBER, value))
    })
}

/// What the attributes of a link say about a VF.
fn find_port(link: &[u8], vf: u16) -> Option<Port> {
    let list = attributes(link).find(|(kind, _)| *kind == VF_INFO_LIST)?.1;
    let infos = attributes(list).filter(|(kind, _)| *kind == VF_INFO);
    infos.map(|(_, info)| info).find_map(|info| {
        let of = |wanted: u16| {
            let (_, value) = attributes(info).find(|(kind, _)| *kind == wanted)?;
            let number = u32::from_le_bytes(*value.first_chunk()?);
            (number == u32::from(vf)).then(|| value.get(4..))?
        };
        Some(Port {
            mac: *of(VF_MAC)?.first_chunk()?,
            vlan: of(VF_VLAN)
                .and_then(|value| value.first_chunk())
                .map_or(0, |vlan| u16::from_le_bytes(*vlan)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A VF as Linux describes it.
    fn info(vf: u32, mac: [u8; 6], vlan: u32) -> Vec<u8> {
        let mut value = vf.to_le_bytes().to_vec();
        value.extend(mac);
        value.resize(36, 0);
        let words = [vf, vlan, 0];
        let tag: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let both = [attribute(VF_MAC, &value), attribute(VF_VLAN, &tag)].concat();
        attribute(VF_INFO, &both)
    }

    #[test]
    fn vf_is_found_in_a_link_s_answer() {
        let first = info(0, [2, 0, 0, 0, 0, 1], 0);
        let second = info(1, [2, 0, 0, 0, 0, 2], 7);
        // The list is marked as nested, and other attributes stand before it.
        let list = attribute(VF_INFO_LIST | 0x8000, &[first, second].concat());
        let link = [attribute(3, b"eth0\0"), list].concat();
        let expected = Port {
            mac: [2, 0, 0, 0, 0, 2],
            vlan: 7,
        };
        assert_eq!(find_port(&link, 1), Some(expected));
        assert_eq!(find_port(&link, 2), None);
        for cut in 0..link.len() {
            find_port(&link[..cut], 1);
        }
    }

    #[test]
    fn this_kernel_understands_the_messages() {
        // The loopback interface is always the first, and has no VFs.
        let error = port(1, 0).expect_err("no VFs");
        assert!(error.to_string().contains("nothing about VF 0"), "{error}");
        assert!(set_mac(1, 0, [2, 0, 0, 0, 0, 1]).is_err());
        assert!(set_link(u32::MAX >> 1, true).is_err(), "no such interface");
    }
}
