//! What a config names and the host does not have is told at the start, all at once.

use crate::support::gateway::Gateway;

/// Reserved for documentation (RFC 5737, RFC 3849): no host has them.
const NOBODYS: [&str; 2] = ["192.0.2.77", "2001:db8::77"];

fn config(rest: &str, source: &str, server: &str) -> String {
    format!(
        "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [upstream.app]\nservers = [{server:?}]\nsource_addresses = [{source:?}]\n{rest}"
    )
}

#[test]
fn a_source_address_that_the_host_does_not_have_is_refused_with_what_it_has() {
    for (source, server, own) in [
        (NOBODYS[0], "127.0.0.1:9", "this host has 127.0.0.1"),
        (NOBODYS[1], "[::1]:9", "this host has "),
    ] {
        let (status, lines) =
            Gateway::launch(Some(&config("", source, server)), None).ended_by_itself();
        assert_eq!(status.code(), Some(1), "{lines:?}");
        let told = format!("upstream.app.source_addresses = \"{source}\": {own}");
        let line = lines.iter().find(|line| line.contains(&told));
        let line = line.unwrap_or_else(|| panic!("{lines:?}"));
        assert!(line.contains(&format!("ip address add {source}/")), "{line}");
        assert!(line.contains("ip_nonlocal_bind"), "{line}");
    }
}

#[test]
fn a_group_and_directories_that_are_not_there_are_named_by_their_keys() {
    let rest = "[admin]\ngroup = \"no-such-group\"\nsocket = \"/nowhere/admin.sock\"\n\
        [access_log]\npath = \"/nowhere/access.log\"\n";
    let (status, lines) =
        Gateway::launch(Some(&config(rest, "127.0.0.1", "127.0.0.1:9")), None).ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    for words in [
        "admin.group = \"no-such-group\": this host has no group of that name; write one",
        "admin.socket = \"/nowhere/admin.sock\": there is no directory /nowhere; name a socket",
        "access_log.path = \"/nowhere/access.log\": there is no directory /nowhere; name a file",
    ] {
        assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:?}");
    }
}
