//! The status page in a browser: it is live, it sorts by keys alone, it fits, it says when it ends.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::support::client;
use crate::support::command::tell;
use crate::support::config::upstream;
use crate::support::gateway::Gateway;
use crate::support::wait_until;

const TWO_ECHOES: &str = "[listener.less]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
    [listener.more]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
    [upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = \"127.0.0.1:0\"\n";

/// What gives the names in the first column of a table, in their order.
fn names_of(table: &str) -> String {
    let rows = format!("document.querySelector('[data-rows={table}]').tBodies[0].rows");
    format!("Array.from({rows}, (row) => row.cells[0].textContent)")
}

/// The listeners, in their order.
fn names(browser: &mut Browser) -> Vec<String> {
    let rows = browser.evaluate(&names_of("listeners"));
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| row.as_str().expect("a name").to_owned()).collect()
}

/// Waits until an expression is true on the page.
fn wait_for(browser: &mut Browser, what: &str) {
    wait_until(what, || browser.evaluate(what) == Value::Bool(true));
}

fn press(browser: &mut Browser, key: &str, text: &str) {
    let event = |kind: &str| json!({ "type": kind, "key": key, "code": key, "text": text });
    browser.call("Input.dispatchKeyEvent", event("keyDown"));
    browser.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key, "code": key }));
}

#[test]
fn the_page_is_live_sorts_by_keys_fits_and_says_when_the_gateway_is_gone() {
    let gateway = Gateway::start(TWO_ECHOES);
    let clients: Vec<_> = (0..3).map(|_| client::connect(gateway.address("more"))).collect();
    let mut browser = Browser::start();
    browser.call("Page.navigate", json!({ "url": format!("http://{}/", gateway.status()) }));
    wait_for(&mut browser, "document.getElementById('link')?.textContent === 'live'");
    wait_for(&mut browser, "document.querySelector('.total').textContent.startsWith('3 / ')");
    // Two readings make a rate, three a line, and what is below it.
    let rate = "document.querySelector('dd[data-path=accepted]').textContent !== '–'";
    wait_for(&mut browser, rate);
    let line = "/^M.*L/.test(document.querySelector('#plots path:not(.area)').getAttribute('d'))";
    wait_for(&mut browser, line);
    let area = "/^M.*L.*Z$/.test(document.querySelector('#plots path.area').getAttribute('d'))";
    wait_for(&mut browser, area);
    let more: Vec<_> = (0..2).map(|_| client::connect(gateway.address("less"))).collect();
    wait_for(&mut browser, "document.querySelector('.total').textContent.startsWith('5 / ')");
    // By keys alone.
    assert_eq!(names(&mut browser), ["less", "more"]);
    let button = "[data-rows=listeners] th:nth-child(3) button";
    browser.evaluate(&format!("document.querySelector('{button}').focus()"));
    press(&mut browser, "Enter", "\r");
    assert_eq!(names(&mut browser), ["more", "less"]);
    let sorted = format!("document.querySelector('{button}').parentNode.ariaSort");
    assert_eq!(browser.evaluate(&sorted), "descending");
    press(&mut browser, "Enter", "\r");
    assert_eq!(names(&mut browser), ["less", "more"]);
    // In little room, nothing but a table is wider than the page.
    let size = json!({ "width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": false });
    browser.call("Emulation.setDeviceMetricsOverride", size);
    wait_for(&mut browser, "innerWidth === 360");
    assert_eq!(browser.evaluate("document.documentElement.scrollWidth <= 360"), true);
    assert_eq!(browser.complaints(), [""; 0]);
    drop((clients, more));
    gateway.stop();
    wait_for(&mut browser, "document.getElementById('link').dataset.link === 'gone'");
}

#[test]
fn the_live_page_says_what_an_operator_took_out() {
    let config = format!("{TWO_ECHOES}{}", upstream("far", &[([127, 0, 0, 1], 9).into()]));
    let gateway = Gateway::start(&config);
    let mut browser = Browser::start();
    browser.call("Page.navigate", json!({ "url": format!("http://{}/", gateway.status()) }));
    wait_for(&mut browser, "document.getElementById('link')?.textContent === 'live'");
    let mut shows = |expected: [&str; 2]| {
        for (table, names) in ["listeners", "servers"].into_iter().zip(expected) {
            wait_for(&mut browser, &format!("{}.join() === '{names}'", names_of(table)));
        }
    };
    shows(["less,more", "far/127.0.0.1:9"]);
    tell(&gateway, &["listener", "less", "pause"]);
    tell(&gateway, &["server", "far/127.0.0.1:9", "drain"]);
    shows(["less (paused),more", "far/127.0.0.1:9 (drains)"]);
    tell(&gateway, &["listener", "less", "resume"]);
    tell(&gateway, &["server", "far/127.0.0.1:9", "ready"]);
    shows(["less,more", "far/127.0.0.1:9"]);
    assert_eq!(browser.complaints(), [""; 0]);
    gateway.stop();
}
