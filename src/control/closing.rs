//! Connections of servers that checks find down end at a pace, where the config has it so.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use humantime_serde::re::humantime::format_duration;

use super::drains::{DOWN, Drain, Of, Undo};
use super::state::{ControlState, Folded, View, serves};
use crate::base::ServerId;
use crate::config::{AllDown, OnDown};
use crate::doctor::count;
use crate::metrics::reading::Severity;
use crate::topology::WithLine;
use crate::upstream::Observed;
use crate::worker::{Account, DrainOrder, Order, Pace, Part, Whom};

/// Servers whose connections are ended, or were when they went down.
#[derive(Debug, Default)]
pub(super) struct Closing {
    servers: BTreeMap<ServerId, Arc<Account>>,
    said: BTreeMap<ServerId, Folded>,
}

/// A server whose connections are to end.
struct Due {
    subject: String,
    over: Duration,
    open: u64,
}

impl Closing {
    /// Begins with servers that are down by now, and leaves those alone that are not any more.
    pub(super) fn look(&mut self, state: &ControlState) {
        let view = state.view();
        let due = due(&view);
        self.said.retain(|id, _| view.topology.servers.get(*id).is_some());
        for (id, account) in self.servers.extract_if(.., |id, _| !due.contains_key(id)) {
            if view.topology.servers.get(id).is_some() && !account.is_over() {
                state.drains().end(&account);
                for worker in state.workers() {
                    worker.order(Order::Cancel(account.clone()));
                }
            }
        }
        for (id, due) in due.into_iter().filter(|(_, due)| due.open > 0) {
            if let Entry::Vacant(place) = self.servers.entry(id) {
                place.insert(begin(state, id, &due));
                if let Some(folded) = self.said.entry(id).or_default().may_say(state.now()) {
                    let (open, over) = (count(due.open, "connection"), format_duration(due.over));
                    let words = format!("{open} of it end over {over}, as it is down{folded}");
                    state.tell(Severity::Info, &due.subject, &words);
                }
            }
        }
    }
}

/// Servers whose connections are to end: they are down, and either another one serves, to which the
/// clients can come back, or `all_down` has it that servers which are down get nobody.
fn due(view: &View) -> BTreeMap<ServerId, Due> {
    let mut all = BTreeMap::new();
    let upstreams = view.topology.with_lines(&view.config.upstreams);
    for WithLine { servers, line, .. } in upstreams.filter(|one| one.line.on_down == OnDown::Close)
    {
        let standing = |id: &ServerId| &*view.topology.servers[*id].standing;
        let is_ended =
            line.all_down != AllDown::TryAll || servers.iter().any(|id| serves(standing(id)));
        let is_down = |id: &&ServerId| standing(id).observed() == Observed::Down;
        for id in servers.iter().filter(is_down).filter(|_| is_ended) {
            let subject = format!("server/{}/{}", line.name, view.topology.servers[*id].name);
            let (over, open) = (line.on_down_over, u64::from(standing(id).open()));
            all.insert(*id, Due { subject, over, open });
        }
    }
    all
}

/// Has every worker end its connections to a server.
fn begin(state: &ControlState, id: ServerId, due: &Due) -> Arc<Account> {
    let now = state.now();
    let (account, lines) = Account::open(state.workers().len(), None, now);
    state.drains().begin(Drain {
        of: Of::Down(id),
        name: format!("{DOWN}{}", due.subject),
        begins: now,
        deadline: now.after(due.over),
        rate: None,
        account: account.clone(),
        undo: Undo::default(),
    });
    for (worker, line) in state.workers().iter().zip(lines) {
        let whom = Whom::Part(Part::Server(id), 100);
        let order = DrainOrder { whom, pace: Pace::Even, within: due.over, line };
        worker.order(Order::Drain(Box::new(order)));
    }
    account
}
