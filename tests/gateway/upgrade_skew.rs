//! An upgrade from and to the program of the last release.

use std::process::Command;

use crate::support::gateway::program;
use crate::support::lineage::runs;
use crate::support::secured::{Stage, secure_echo};
use crate::support::{server, wait_until};

/// The path of the last release's program.
const FORMER: &str = "PORTCULLIS_FORMER";

#[test]
#[ignore = "needs the program of the last release; CONTRIBUTING says how"]
fn connections_move_from_the_last_release_back_to_it_and_on() {
    let former = std::env::var(FORMER).expect("PORTCULLIS_FORMER names a program");
    let now = program(None).get_program().to_string_lossy().into_owned();
    let bytes = |program: &str| std::fs::read(program).expect("a program");
    assert!(bytes(&former) != bytes(&now), "they are two programs");
    let (plain, secure) = (server::echo(), secure_echo());
    let stage = Stage::by(Command::new(&former), plain.address, secure.address, "");
    let mut clients = stage.clients(10);
    clients.iter_mut().for_each(|client| client.echo(1, 1_000));
    for (round, program) in [&now, &former, &now].into_iter().enumerate() {
        let before = stage.lineage.pid();
        let said = stage.lineage.ask(&["upgrade", "--probation", "300ms", "--binary", program]);
        assert!(said.answer.starts_with("upgraded: "), "to {program}: {said:?}");
        println!("upgrade {round}, to {program}: {}", said.answer.trim());
        wait_until("the predecessor's end", || !runs(before));
        clients.iter_mut().for_each(|client| client.echo(2, 50_000));
        clients.append(&mut stage.clients(1));
    }
    assert_eq!(stage.lineage.status()["budget"]["used"], clients.len());
}
