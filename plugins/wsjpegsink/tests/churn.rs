//! In a process of its own: what a thousand clients that come and go leave behind.

// Clippy takes only the test functions themselves for tests, not their helpers.
#![allow(clippy::unwrap_used)]

mod support;

use std::{io::Write, net::TcpStream};
use support::{Bench, connect, next_picture, push, raw_client, run};

/// The allocator's reserves may grow by so much; a leak of one viewer's buffers would be tens of MB.
const MAY_GROW_BYTES: u64 = 8 << 20;

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() << 10
}

/// Connects and leaves in one of the ways that clients do.
async fn come_and_go(port: u16, way: usize) {
    match way % 5 {
        // In order.
        0 => {
            let mut client = connect(port, "/ws", &[]).await.unwrap();
            next_picture(&mut client).await;
            client.close(None).await.unwrap();
        }
        // Without a word, after a picture.
        1 => {
            let mut client = connect(port, "/stream", &[]).await.unwrap();
            _ = support::next(&mut client).await;
        }
        // Without having read any of it.
        2 => drop(raw_client(port, "/ws")),
        // In the middle of the handshake.
        3 => {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"GET /ws HTTP/1.1\r\nHost: loc").unwrap();
        }
        // Breaking the protocol.
        _ => {
            let mut stream = raw_client(port, "/ws");
            stream.write_all(&[0xFF; 32]).unwrap();
        }
    }
}

#[test]
fn a_thousand_connections_leave_no_descriptor_thread_or_memory() {
    let bench = Bench::new().play();
    let source = bench.feed();
    push(&source, 1, 100_000);
    let port = bench.port();
    let cycles = |count: usize| {
        for batch in 0..count / 50 {
            run(async {
                for way in 0..50 {
                    come_and_go(port, batch + way).await;
                }
            });
            bench.wait_for_clients(0);
        }
    };
    cycles(200);
    let (descriptors, threads, memory) = (
        count("/proc/self/fd"),
        count("/proc/self/task"),
        resident_bytes(),
    );
    cycles(1_000);
    // Half-open handshakes end when the server reads their end: the last client's end came before.
    let begin = std::time::Instant::now();
    while count("/proc/self/fd") > descriptors && begin.elapsed() < support::DEADLINE {
        std::thread::yield_now();
    }
    let (descriptors_now, threads_now, memory_now) = (
        count("/proc/self/fd"),
        count("/proc/self/task"),
        resident_bytes(),
    );
    println!(
        "descriptors {descriptors}, then {descriptors_now}; threads {threads}, then {threads_now}; \
         memory {} kB, then {} kB",
        memory >> 10,
        memory_now >> 10
    );
    assert!(descriptors_now <= descriptors);
    // Pooled threads come and go by a few.
    assert!(threads_now <= threads + 16);
    assert!(memory_now < memory + MAY_GROW_BYTES);
}
