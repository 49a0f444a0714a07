//! `cellmsg`: requests, streams and files between members of a link.
//!
//! ```text
//! cellmsg LINK answer           answers all others, until it is ended
//! cellmsg LINK echo PEER TEXT   sends TEXT and prints the answer
//! cellmsg LINK send PEER        standard input goes to the other
//! cellmsg LINK receive PEER     what the other sends goes to standard output
//! cellmsg LINK bench PEER       round trips, and bytes both ways, with one that answers
//! cellmsg LINK ring PEER TIMES  rings the other's doorbell so often, and writes nothing
//! ```
//!
//! `PEER` is the other's number among the link's `members`, from 1. The link is used for
//! nothing else (`cellnet`, say) meanwhile.

use cellvisor_window::doorbell::{Bell, Doorbell, MOST_SLEEP};
use cellvisor_window::message::{Channel, Failed, MOST_BYTES, PATIENCE};
use cellvisor_window::ring::{Reader, Writer, between, least_bytes};
use cellvisor_window::{Link, Member, Window, wait};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long `bench` does one thing.
const TURN: Duration = Duration::from_secs(2);
/// Rounds without a request before `answer` sleeps between looks.
const SPINS: u32 = 20_000;
const NAP: Duration = Duration::from_micros(200);

/// Between two rings.
const BEAT: Duration = Duration::from_millis(10);

const USAGE: &str = "usage: cellmsg LINK {answer | echo PEER TEXT | send PEER | receive PEER | \
                     bench PEER | ring PEER TIMES}";

/// The way from this member to the one at `place`, and back.
fn channel<'a>(
    link: &Link,
    window: &'a Window,
    bell: Option<&'a Doorbell>,
    place: usize,
) -> Result<Channel<'a>, String> {
    let me = me(link)?;
    let ring = |from, to| {
        between(window.words(), me.of, from, to).ok_or_else(|| {
            let (name, of, least) = (&link.name, me.of, least_bytes(me.of) >> 20);
            format!("link {name} is too small for rings between {of} members: give it {least} MiB")
        })
    };
    let from = Reader::new(ring(place, me.place)?);
    let to = Writer::new(ring(me.place, place)?);
    let channel = Channel::new(from, to, PATIENCE);
    Ok(match bell {
        Some(bell) => channel.with_bell(bell, place),
        None => channel,
    })
}

fn me(link: &Link) -> Result<Member, String> {
    link.member
        .ok_or_else(|| format!("link {} is only read here", link.name))
}

/// Place of the member that has this number.
fn place(link: &Link, number: &str) -> Result<usize, String> {
    let me = me(link)?;
    let place = number.parse().ok().and_then(|n: usize| n.checked_sub(1));
    place
        .filter(|place| *place < me.of && *place != me.place)
        .ok_or_else(|| {
            format!(
                "`{number}` is no other member: this is number {} of {}",
                me.place + 1,
                me.of
            )
        })
}

fn answer(link: &Link, window: &Window, bell: Option<&Doorbell>) -> Result<(), String> {
    let me = me(link)?;
    let others = (0..me.of).filter(|other| *other != me.place);
    let mut channels = others
        .map(|other| channel(link, window, bell, other))
        .collect::<Result<Vec<_>, _>>()?;
    let mut idle = 0;
    loop {
        idle += 1;
        for channel in &mut channels {
            // One that asks and does not take its answer costs itself and some seconds.
            if channel.answer().unwrap_or(false) {
                idle = 0;
            }
        }
        match bell {
            _ if idle <= SPINS => {}
            None => std::thread::sleep(NAP),
            Some(bell) => {
                if channels.iter().all(Channel::fall_asleep) {
                    wait::for_bell(bell, MOST_SLEEP);
                }
                channels.iter().for_each(Channel::wake_up);
            }
        }
    }
}

/// Rings the member at `place` so often.
fn ring(link: &Link, bell: Option<&Doorbell>, place: usize, times: &str) -> Result<(), String> {
    let bell = bell.ok_or_else(|| {
        let name = &link.name;
        format!("link {name} has no doorbell: write `doorbell = true` into its files")
    })?;
    let times: u32 = times
        .parse()
        .map_err(|_| format!("`{times}` is no number of rings"))?;
    for _ in 0..times {
        bell.ring(place);
        std::thread::sleep(BEAT);
    }
    println!("cellmsg: rang {times} times");
    Ok(())
}

/// Requests of `size` bytes for a while: how many, and how long it took.
fn turn(channel: &mut Channel<'_>, size: usize) -> Result<(u64, f64), Failed> {
    let request = vec![0x5a; size];
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < TURN {
        channel.ask(&request)?;
        count += 1;
    }
    Ok((count, begun.elapsed().as_secs_f64()))
}

fn bench(channel: &mut Channel<'_>) -> Result<(), Failed> {
    let (trips, seconds) = turn(channel, 8)?;
    println!(
        "cellmsg: {:.0} round trips per second of 8 bytes",
        trips as f64 / seconds
    );
    let (trips, seconds) = turn(channel, MOST_BYTES)?;
    let megabytes = (trips * 2 * MOST_BYTES as u64) as f64 / 1e6;
    println!(
        "cellmsg: {:.1} MB/s there and back in frames of {MOST_BYTES} bytes",
        megabytes / seconds
    );
    Ok(())
}

fn run(words: &[String]) -> Result<(), String> {
    let [name, verb, rest @ ..] = words else {
        return Err(USAGE.to_owned());
    };
    let link = Link::find(name).map_err(|e| e.to_string())?;
    let window = link.map().map_err(|e| e.to_string())?;
    let bell = Doorbell::open(&link).map_err(|e| e.to_string())?;
    let bell = bell.as_ref();
    let told = |e: Failed| e.to_string();
    let to = |number| channel(&link, &window, bell, place(&link, number)?);
    match (verb.as_str(), rest) {
        ("answer", []) => answer(&link, &window, bell),
        ("ring", [peer, times]) => ring(&link, bell, place(&link, peer)?, times),
        ("echo", [peer, text]) => {
            let mut channel = to(peer)?;
            let answer = channel.ask(text.as_bytes()).map_err(told)?;
            println!("{}", String::from_utf8_lossy(answer));
            Ok(())
        }
        ("send", [peer]) => {
            let sent = to(peer)?.send(&mut io::stdin().lock()).map_err(told)?;
            eprintln!("cellmsg: {sent} bytes are there");
            Ok(())
        }
        ("receive", [peer]) => {
            let mut out = io::stdout().lock();
            let came = to(peer)?.receive(&mut out).map_err(told)?;
            out.flush().map_err(|e| e.to_string())?;
            eprintln!("cellmsg: {came} bytes came");
            Ok(())
        }
        ("bench", [peer]) => bench(&mut to(peer)?).map_err(told),
        _ => Err(USAGE.to_owned()),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cellmsg: {why}");
            ExitCode::FAILURE
        }
    }
}
