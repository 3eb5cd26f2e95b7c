//! An upgrade of connections whose peers have stopped to read: what is in hand goes along, in a
//! pipe, in buffers, in both directions.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::{self, Brought, Ending};
use crate::support::config::upstream;
use crate::support::crowd::Marks;
use crate::support::lineage::Lineage;
use crate::support::pattern::Pattern;
use crate::support::server::{Server, finish, read_number, write_number};
use crate::support::wait_until;

/// Clients whose servers say nothing, and those whose servers say as much as they can.
const ONE_WAY: u64 = 1;
const BOTH_WAYS: u64 = 2;
/// When servers read.
const READ: u64 = 3;
/// Of each.
const CLIENTS: usize = 3;

/// What a client got, after it has sent so much.
struct Client {
    stream: TcpStream,
    number: u64,
    sent_bytes: u64,
}

/// What a server got, after it has sent so much.
type Outcome = (u64, u64, Brought);

fn server(marks: &Arc<Marks>, stalled: &Arc<AtomicUsize>) -> Server<Outcome> {
    let (marks, stalled) = (marks.clone(), stalled.clone());
    Server::start(move |stream| {
        let number = read_number(&stream);
        let sent_bytes = match number {
            BOTH_WAYS => client::send_until_stalled(&stream, &mut Pattern::new(!number)),
            _ => 0,
        };
        stalled.fetch_add(1, Ordering::SeqCst);
        marks.wait(READ);
        finish(&stream);
        (number, sent_bytes, client::receive_all(&stream, &mut Pattern::new(number)))
    })
}

/// Two upgrades of such connections; says how many bytes the first process has spliced.
fn moves_all(ring: &str) -> u64 {
    let (marks, stalled) = (Arc::new(Marks::default()), Arc::new(AtomicUsize::new(0)));
    let server = server(&marks, &stalled);
    let lineage = Lineage::start(&format!(
        "[gateway]\nworkers = 2\nmax_connections = 2000\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{}\
         [status]\nbind = \"127.0.0.1:0\"\n[ring]\n{ring}",
        upstream("app", &[server.address])
    ));
    let address = lineage.first.address("edge");
    let open = |number: u64| {
        let stream = client::connect(address);
        write_number(&stream, number);
        let sent_bytes = client::send_until_stalled(&stream, &mut Pattern::new(number));
        Client { stream, number, sent_bytes }
    };
    let clients: Vec<Client> =
        [ONE_WAY, BOTH_WAYS].into_iter().flat_map(|one| [one; CLIENTS]).map(open).collect();
    wait_until("all servers to stall", || stalled.load(Ordering::SeqCst) == 2 * CLIENTS);
    let workers = lineage.status()["workers"].clone();
    let spliced = |worker: &serde_json::Value| worker["spliced_bytes"].as_u64().expect("bytes");
    let spliced_bytes = workers.as_array().expect("workers").iter().map(spliced).sum();
    lineage.upgrade(&[]);
    lineage.upgrade(&[]);
    assert_eq!(lineage.status()["budget"]["used"], 2 * CLIENTS, "all have moved");
    marks.set(READ);
    let mut sent_back = Vec::new();
    for Client { stream, number, .. } in &clients {
        finish(stream);
        let Brought { bytes, ending } = client::receive_all(stream, &mut Pattern::new(!number));
        assert_eq!(ending, Ending::Fin, "{bytes} bytes before it");
        sent_back.push((*number, bytes));
    }
    let outcomes = server.outcomes(2 * CLIENTS);
    let mut sent: Vec<_> = outcomes.iter().map(|(number, bytes, _)| (*number, *bytes)).collect();
    sent.sort_unstable();
    sent_back.sort_unstable();
    assert_eq!(sent_back, sent, "what clients got of what servers had sent");
    let mut got: Vec<_> = outcomes.into_iter().map(|(number, _, got)| (number, got)).collect();
    got.sort_unstable_by_key(|(number, got)| (*number, got.bytes));
    let fin = |Client { number, sent_bytes, .. }: &Client| {
        (*number, Brought { bytes: *sent_bytes, ending: Ending::Fin })
    };
    let mut expected: Vec<_> = clients.iter().map(fin).collect();
    expected.sort_unstable_by_key(|(number, got)| (*number, got.bytes));
    assert_eq!(got, expected, "what servers got");
    spliced_bytes
}

#[test]
fn what_lies_in_a_pipe_before_a_reader_that_has_stopped_goes_along() {
    assert!(moves_all("") > 0, "nothing was spliced");
}

#[test]
fn more_in_hand_than_a_message_carries_goes_along() {
    moves_all("splice_pipes = 0\nbuffer_size = \"256KiB\"\nbuffer_count = 64\n");
}
