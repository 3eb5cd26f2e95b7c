//! Questions to DNS servers, and what came of them.

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Semaphore;

use super::Outcome;
use super::bad::Bad;
use super::stamp::{Stamp, stamp};
use crate::base::{Clock, Millis};
use crate::config::Resolver;

/// Names that are asked for at a time, of all searches together; the others wait for their turn, in
/// order. A question has a socket of its own, and is sent three times at most: 2 families x 3 x 16
/// are 96 descriptors.
const AT_A_TIME: usize = 16;

/// Between two looks whether the files of the host are others.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    /// At least one record; they are right for that time.
    Records(Vec<T>, Duration),
    /// There is no record: a DNS server says so.
    Nothing(Bad),
    /// It is not known whether there is one.
    Unknown(Bad),
}

impl<T> Answer<T> {
    /// Makes other records of these, or finds out that they are no good.
    fn and_then<U>(self, read: impl FnOnce(Vec<T>) -> Result<Vec<U>, Bad>) -> Answer<U> {
        match self {
            Answer::Records(records, ttl) => match read(records) {
                Ok(records) if records.is_empty() => Answer::Nothing(empty()),
                Ok(records) => Answer::Records(records, ttl),
                Err(bad) => Answer::Unknown(bad),
            },
            Answer::Nothing(bad) => Answer::Nothing(bad),
            Answer::Unknown(bad) => Answer::Unknown(bad),
        }
    }
}

fn empty() -> Bad {
    Bad::new(Outcome::Empty, "there is no record")
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: String,
}

/// The DNS servers and the hosts file, as they are at present. The files are read when something is
/// asked for.
pub(super) struct Dns {
    /// How names are asked for.
    pub(super) resolver: Resolver,
    files: Files,
    clock: Clock,
    read: Mutex<Option<Read>>,
    turns: Semaphore,
}

/// The files of the host.
pub(super) struct Files {
    /// Addresses of hosts that are not asked for.
    pub(super) hosts: PathBuf,
    /// The DNS servers, where the config names none.
    pub(super) servers: PathBuf,
    /// The time between two looks whether they are others.
    pub(super) between_looks: Duration,
}

/// What the files said when they were looked at last.
struct Read {
    looked: Millis,
    stamps: [Stamp; 2],
    sources: Arc<Sources>,
}

impl fmt::Debug for Dns {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Dns").field("resolver", &self.resolver).finish_non_exhaustive()
    }
}

impl Dns {
    /// Asks as the config says, and by the files of the host.
    pub(super) fn new(resolver: Resolver) -> Dns {
        let (hosts, servers) = ("/etc/hosts".into(), "/etc/resolv.conf".into());
        let files = Files { hosts, servers, between_looks: BETWEEN_LOOKS };
        Dns::by_files(resolver, files, Clock::system())
    }

    /// The same, by these files.
    pub(super) fn by_files(resolver: Resolver, files: Files, clock: Clock) -> Dns {
        Dns { resolver, files, clock, read: Mutex::default(), turns: Semaphore::new(AT_A_TIME) }
    }

    /// The addresses of a host, of IPv4 and of IPv6, each list in order and without doubles.
    pub(super) async fn addresses(&self, host: &str) -> [Answer<IpAddr>; 2] {
        let _turn = self.turns.acquire().await.expect("it is never closed");
        let sources = self.sources();
        if let Some(answers) = sources.static_addresses(host) {
            return self.bounded(answers.map(|answer| answer.and_then(usable)));
        }
        let (v4, v6) = tokio::join!(
            sources.ask(host, RecordType::A, &self.resolver),
            sources.ask(host, RecordType::AAAA, &self.resolver)
        );
        self.bounded([v4, v6].map(|answer| answer.and_then(usable)))
    }

    /// The SRV records of a name.
    pub(super) async fn services(&self, name: &str) -> Answer<Service> {
        let _turn = self.turns.acquire().await.expect("it is never closed");
        let answer = self.sources().ask(name, RecordType::SRV, &self.resolver).await;
        answer.and_then(|records| {
            let all: Vec<Service> = records.iter().filter_map(service).collect();
            self.check(all.len()).map(|()| all)
        })
    }

    fn bounded(&self, answers: [Answer<IpAddr>; 2]) -> [Answer<IpAddr>; 2] {
        let count = |answer: &Answer<IpAddr>| match answer {
            Answer::Records(addresses, _) => addresses.len(),
            Answer::Nothing(_) | Answer::Unknown(_) => 0,
        };
        match self.check(answers.iter().map(count).sum()) {
            Ok(()) => answers,
            Err(bad) => [Answer::Unknown(bad.clone()), Answer::Unknown(bad)],
        }
    }

    fn check(&self, count: usize) -> Result<(), Bad> {
        let most = usize::from(self.resolver.max_addresses);
        match count <= most {
            true => Ok(()),
            false => {
                let because = format!("{count} are more than resolver.max_addresses, {most}");
                Err(Bad::new(Outcome::TooLarge, because))
            }
        }
    }

    /// The files are read again when they are others than before.
    fn sources(&self) -> Arc<Sources> {
        let Files { hosts, servers, between_looks } = &self.files;
        let mut read = self.read.lock().expect("nobody panics while holding it");
        let looked = self.clock.now();
        let young = read.as_ref().filter(|read| looked.since(read.looked) < *between_looks);
        if let Some(read) = young {
            return read.sources.clone();
        }
        let stamps = [stamp(hosts), stamp(servers)];
        let same = read.take().filter(|read| read.stamps == stamps).map(|read| read.sources);
        let sources =
            same.unwrap_or_else(|| Arc::new(Sources::read(&self.resolver, hosts, servers)));
        read.insert(Read { looked, stamps, sources }).sources.clone()
    }
}

/// The addresses that a server can have. An address of IPv4 within one of IPv6 is that of IPv4; a
/// link-local one is left out, because it means nothing without an interface.
fn usable(records: Vec<Record>) -> Result<Vec<IpAddr>, Bad> {
    let ip = |record: &Record| record.data.ip_addr().map(|ip| ip.to_canonical());
    let mut addresses: Vec<IpAddr> = records.iter().filter_map(ip).collect();
    if let Some(wrong) = addresses.iter().find(|ip| !is_of_a_host(**ip)) {
        return Err(Bad::wrong(format!("{wrong} is no address of a host")));
    }
    addresses.retain(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()));
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

fn is_of_a_host(ip: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0);
    !(ip.is_unspecified() || ip.is_multicast() || is_broadcast)
}

fn service(record: &Record) -> Option<Service> {
    let RData::SRV(srv) = &record.data else { return None };
    let target = srv.target.to_ascii();
    Some(Service { priority: srv.priority, weight: srv.weight, port: srv.port, target })
}

/// What the files said when they were read.
struct Sources {
    hosts: Hosts,
    /// At least one, or why there is none.
    servers: Result<Vec<DnsServer>, String>,
    /// The server that answered last; it is asked first.
    first: AtomicUsize,
}

struct DnsServer {
    address: SocketAddr,
    resolver: TokioResolver,
}

impl Sources {
    fn read(resolver: &Resolver, hosts_file: &Path, servers_file: &Path) -> Sources {
        let mut hosts = Hosts::default();
        if let Ok(text) = fs::read(hosts_file) {
            // Lines that are none are left out.
            let _ = hosts.read_hosts_conf(text.as_slice());
        }
        let addresses = match resolver.servers.is_empty() {
            false => Ok(resolver.servers.clone()),
            true => servers_of_host(servers_file),
        };
        let server = |address| DnsServer::new(address, resolver.timeout);
        let servers = addresses.and_then(|all| all.into_iter().map(server).collect());
        Sources { hosts, servers, first: AtomicUsize::new(0) }
    }

    /// The answers of the hosts file, if it has the host.
    fn static_addresses(&self, host: &str) -> Option<[Answer<Record>; 2]> {
        let name = full_name(host).ok()?;
        let answers = [RecordType::A, RecordType::AAAA].map(|kind| {
            let found = self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
            found.map_or(Answer::Nothing(empty()), |lookup| answer_of(lookup.answers(), kind))
        });
        let has_any = answers.iter().any(|answer| matches!(answer, Answer::Records(..)));
        has_any.then_some(answers)
    }

    /// Asks the servers in turn until one knows.
    async fn ask(&self, name: &str, kind: RecordType, resolver: &Resolver) -> Answer<Record> {
        let servers = match &self.servers {
            Ok(servers) => servers,
            Err(because) => return Answer::Unknown(Bad::failed(because.clone())),
        };
        let first = self.first.load(Ordering::Relaxed);
        let mut bads = Vec::new();
        for index in (0..servers.len()).map(|step| (first + step) % servers.len()) {
            match servers[index].ask(name, kind, resolver.timeout).await {
                Answer::Unknown(bad) => bads.push(bad),
                answer => {
                    self.first.store(index, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        let outcome = bads.first().map_or(Outcome::Failed, |bad| bad.outcome);
        let because: Vec<String> = bads.into_iter().map(|bad| bad.because).collect();
        Answer::Unknown(Bad::new(outcome, because.join(", ")))
    }
}

/// The DNS servers of the host, in the order of their file.
fn servers_of_host(path: &Path) -> Result<Vec<SocketAddr>, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (config, _) =
        parse_resolv_conf(text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(config.name_servers().iter().map(|server| SocketAddr::new(server.ip, 53)).collect())
}

impl DnsServer {
    fn new(address: SocketAddr, timeout: Duration) -> Result<DnsServer, String> {
        let on_port = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let ways = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
        let server = NameServerConfig::new(address.ip(), true, ways);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        // The search has its own schedule, and its own last good answers.
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.attempts = 0;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.max_active_requests = 2 * AT_A_TIME;
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(config, provider).with_options(options);
        let resolver = builder.build().map_err(|error| error.to_string())?;
        Ok(DnsServer { address, resolver })
    }

    async fn ask(&self, name: &str, kind: RecordType, timeout: Duration) -> Answer<Record> {
        let at = self.address;
        let unknown = |outcome, because| Answer::Unknown(Bad::new(outcome, because));
        let name = match full_name(name) {
            Ok(name) => name,
            Err(because) => return unknown(Outcome::Wrong, because),
        };
        // One bound over everything that it takes: a question by TCP, a name behind an alias.
        let answer = tokio::time::timeout(timeout, self.resolver.lookup(name, kind)).await;
        match answer.unwrap_or(Err(NetError::Timeout)) {
            Ok(lookup) => answer_of(lookup.answers(), kind),
            Err(NetError::Dns(DnsError::NoRecordsFound(found))) => match found.response_code {
                ResponseCode::NoError => Answer::Nothing(empty()),
                ResponseCode::NXDomain => {
                    let because = format!("{at} says that there is no such name");
                    Answer::Nothing(Bad::failed(because))
                }
                code => unknown(Outcome::Failed, format!("{at} says: {code}")),
            },
            Err(NetError::Dns(DnsError::ResponseCode(code))) => {
                unknown(Outcome::Failed, format!("{at} says: {code}"))
            }
            Err(NetError::Truncated) => {
                let because = format!("{at} cuts its answer short, and gives no other by TCP");
                unknown(Outcome::Truncated, because)
            }
            Err(NetError::Timeout) => {
                unknown(Outcome::Failed, format!("{at} gives no answer within {timeout:?}"))
            }
            Err(error) => unknown(Outcome::Failed, format!("{at}: {error}")),
        }
    }
}

/// A name as it stands, without a search among domains.
fn full_name(text: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(text).map_err(|error| format!("{text}: {error}"))?;
    name.set_fqdn(true);
    Ok(name)
}

/// The records of a kind; the time is that of the shortest-lived, an alias on the way included.
fn answer_of(answers: &[Record], kind: RecordType) -> Answer<Record> {
    let is_of_kind = |record: &&Record| record.record_type() == kind;
    let records: Vec<Record> = answers.iter().filter(is_of_kind).cloned().collect();
    let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
    match records.is_empty() {
        true => Answer::Nothing(empty()),
        false => Answer::Records(records, Duration::from_secs(ttl.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(answer: &Answer<IpAddr>) -> Vec<String> {
        match answer {
            Answer::Records(ips, _) => ips.iter().map(IpAddr::to_string).collect(),
            Answer::Nothing(_) | Answer::Unknown(_) => Vec::new(),
        }
    }

    /// Those of `db` by the hosts file, which has them, so that nobody is asked.
    fn of_hosts_file(dns: &Dns) -> [Vec<String>; 2] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let answers = runtime.expect("a runtime").block_on(dns.addresses("db"));
        [ips(&answers[0]), ips(&answers[1])]
    }

    fn servers(dns: &Dns) -> Result<Vec<String>, String> {
        let sources = dns.sources();
        let servers = sources.servers.as_ref().map_err(Clone::clone)?;
        Ok(servers.iter().map(|server| server.address.to_string()).collect())
    }

    fn files(folder: &Path, between_looks: Duration) -> Files {
        let [hosts, servers] = ["hosts", "resolv.conf"].map(|name| folder.join(name));
        Files { hosts, servers, between_looks }
    }

    #[test]
    fn the_files_are_read_when_asked_for_and_looked_at_once_in_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let moment = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let every_second = files(folder.path(), Duration::from_secs(1));
        let servers_file = every_second.servers.clone();
        let clock = Clock::Simulated(moment.clone());
        let dns = Dns::by_files(Resolver::default(), every_second, clock);
        let write = |address: &str| {
            fs::write(&servers_file, format!("nameserver {address}\n")).expect("ours");
        };
        write("10.0.0.1");
        assert_eq!(servers(&dns), Ok(vec!["10.0.0.1:53".into()]), "nothing was read before");
        write("10.0.0.10");
        moment.store(999, Ordering::Relaxed);
        assert_eq!(servers(&dns), Ok(vec!["10.0.0.1:53".into()]));
        moment.store(1000, Ordering::Relaxed);
        assert_eq!(servers(&dns), Ok(vec!["10.0.0.10:53".into()]));
        let sources = dns.sources();
        moment.store(5000, Ordering::Relaxed);
        assert!(Arc::ptr_eq(&sources, &dns.sources()), "files that stay are not read again");
    }

    #[test]
    fn the_files_of_the_host_are_obeyed_as_they_are_now() {
        let folder = tempfile::tempdir().expect("a folder");
        let [hosts, resolv] = ["hosts", "resolv.conf"].map(|name| folder.path().join(name));
        let at_once = || files(folder.path(), Duration::ZERO);
        let dns = Dns::by_files(Resolver::default(), at_once(), Clock::system());
        assert!(
            servers(&dns).expect_err("there is none").contains("resolv.conf"),
            "names the file"
        );
        fs::write(&resolv, "nameserver 10.0.0.53\nnameserver fd00::53\noptions x\n").expect("ours");
        assert_eq!(servers(&dns), Ok(vec!["10.0.0.53:53".into(), "[fd00::53]:53".into()]));
        fs::write(&hosts, "10.0.0.2 x DB\n10.0.0.1 db # a\n? db\nfe80::1 db\n").expect("ours");
        assert_eq!(of_hosts_file(&dns), [vec!["10.0.0.1".to_owned(), "10.0.0.2".into()], vec![]]);
        fs::write(&hosts, "fd00::1 db\n").expect("ours");
        assert_eq!(of_hosts_file(&dns), [vec![], vec!["fd00::1".to_owned()]]);
        fs::remove_file(&resolv).expect("ours");
        assert!(servers(&dns).is_err());
        let own = Resolver { servers: vec![([127, 0, 0, 1], 5353).into()], ..Resolver::default() };
        let dns = Dns::by_files(own, at_once(), Clock::system());
        assert_eq!(servers(&dns), Ok(vec!["127.0.0.1:5353".into()]));
    }

    #[test]
    fn addresses_are_those_of_hosts() {
        let record = |text: &str| {
            let ip: IpAddr = text.parse().expect("an address");
            Record::from_rdata(Name::root(), 1, RData::from(ip))
        };
        let usable = |all: &[&str]| {
            usable(all.iter().map(|text| record(text)).collect())
                .map(|ips| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>())
                .map_err(|bad| bad.outcome)
        };
        let doubles = usable(&["10.0.0.2", "10.0.0.1", "10.0.0.2", "fe80::1", "::ffff:10.0.0.1"]);
        assert_eq!(doubles, Ok(vec!["10.0.0.1".into(), "10.0.0.2".into()]));
        assert_eq!(usable(&["127.0.0.1"]), Ok(vec!["127.0.0.1".into()]));
        for wrong in ["0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "::", "ff02::1"] {
            assert_eq!(usable(&["10.0.0.1", wrong]), Err(Outcome::Wrong), "{wrong}");
        }
        assert_eq!(usable(&["::ffff:0.0.0.0"]), Err(Outcome::Wrong));
    }
}
