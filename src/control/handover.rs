//! The addresses of a gateway that drains go to one that waits for them, as soon as that loses no
//! client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::endpoints::Serving;
use super::state::ControlState;

/// Between two looks.
const POLL: Duration = Duration::from_millis(20);
/// Looks between two figures for a gateway that may wait.
const LOOKS_PER_FIGURE: u32 = 50;
/// Looks for a gateway that waits, for each look at the queues before there is one: that asks the
/// kernel for each passive socket.
const LOOKS_PER_QUEUES: u32 = 10;
/// Looks that must find the accept queues empty, 500 ms: workers take a queue for served and accept
/// no more after 200 ms of that. A handshake that takes longer is reset.
const LOOKS_AT_QUEUES: u32 = 25;

/// The addresses are to go to a gateway that waits, from the begin of a drain on.
#[derive(Debug)]
pub(super) struct Handover {
    task: JoinHandle<()>,
    hold: Arc<Hold>,
}

/// What a cancel of the drain and the task say to each other; both are of the control thread.
#[derive(Debug, Default)]
struct Hold {
    /// A cancel is tried: nothing is let go meanwhile.
    is_held: AtomicBool,
    /// It cannot be called off any more.
    has_let_go: AtomicBool,
}

impl Handover {
    pub(super) fn begin(state: &ControlState, serving: &Arc<Serving>) -> Handover {
        let hold = Arc::new(Hold::default());
        let task = hand_over(state.clone(), serving.clone(), hold.clone());
        Handover { task: tokio::task::spawn_local(task), hold }
    }

    /// Lets nothing go until it goes on or is called off. Says whether that is possible still.
    pub(super) fn hold(&self) -> bool {
        self.hold.is_held.store(true, Ordering::Relaxed);
        !self.hold.has_let_go.load(Ordering::Relaxed)
    }

    /// The gateway goes after all.
    pub(super) fn go_on(&self) {
        self.hold.is_held.store(false, Ordering::Relaxed);
    }

    /// The gateway stays.
    pub(super) fn call_off(&self) {
        self.task.abort();
    }
}

/// Lets go once another gateway waits and no client does. Ends with the drain at the latest.
async fn hand_over(state: ControlState, serving: Arc<Serving>, hold: Arc<Hold>) {
    let (mut looks, mut empty) = (0_u32, 0_u32);
    loop {
        if looks % LOOKS_PER_FIGURE == 0 {
            let open = state.open();
            state.ground().say_left(open);
        }
        looks = looks.wrapping_add(1);
        sleep(POLL).await;
        let is_awaited = state.ground().is_awaited();
        let step = if is_awaited { 1 } else { LOOKS_PER_QUEUES };
        if looks % step == 0 {
            empty = if state.ground().clients_wait() { 0 } else { empty.saturating_add(step) };
        }
        if is_awaited && empty >= LOOKS_AT_QUEUES && !hold.is_held.load(Ordering::Relaxed) {
            break;
        }
    }
    hold.has_let_go.store(true, Ordering::Relaxed);
    serving.make_room().await;
    state.ground().let_go();
    while !state.ground().is_succeeded() {
        sleep(POLL).await;
    }
}
