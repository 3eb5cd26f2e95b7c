//! The status page in a browser: it is live, it sorts by keys alone, it fits, it says when it ends.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::support::client;
use crate::support::command::tell;
use crate::support::gateway::Gateway;
use crate::support::http::say;
use crate::support::wait_until;

const TWO_ECHOES: &str = "[listener.less]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
    [listener.more]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\nmax_connections = 4\n\
    [upstream.app]\nbuiltin = \"echo\"\n[status]\nbind = \"127.0.0.1:0\"\n";

const FAR: &str = "[upstream.far]\nservers = [{ name = \"a\", address = \"127.0.0.1:9\" },\n\
    { name = \"b\", address = \"127.0.0.1:9\", backup = true, max_connections = 7 }]\n";

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
    // A share of a limit, and a number where there is none.
    let open = "[data-rows=listeners] [data-path=open]";
    let shares = format!(
        "Array.from(document.querySelectorAll('{open}'), (cell) => `${{cell.textContent}}, \
         ${{cell.dataset.level}}, ${{cell.style.getPropertyValue('--part')}}`).join('; ')"
    );
    wait_for(&mut browser, &format!("{shares} === '2, easy, ; 3 / 4, high, 0.75'"));
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
fn the_plots_show_what_was_before_the_page_was_opened() {
    let gateway = Gateway::start(TWO_ECHOES);
    let samples = || {
        let request = b"GET /history.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let history = say(gateway.status(), request).body;
        let history: Value = serde_json::from_str(&history).expect("a history");
        history["accepted"].as_array().expect("samples").clone()
    };
    wait_until("a sample without clients", || !samples().is_empty());
    let clients: Vec<_> = (0..3).map(|_| client::connect(gateway.address("more"))).collect();
    // From here on nobody is accepted: the page itself sees no rate but 0.
    wait_until("a sample after them", || samples().iter().rev().take(2).all(|n| *n == 3));
    let mut browser = Browser::start();
    browser.call("Page.navigate", json!({ "url": format!("http://{}/", gateway.status()) }));
    let accepts = "document.querySelectorAll('#plots figure')[2]";
    wait_for(&mut browser, &format!("{accepts}?.textContent.startsWith('accepts/s')"));
    let most = format!("{accepts}.querySelector('.most').textContent");
    wait_for(&mut browser, &format!("/[1-9]/.test({most})"));
    assert_eq!(browser.complaints(), [""; 0]);
    drop(clients);
}

#[test]
fn the_live_page_says_what_an_operator_took_out() {
    let gateway = Gateway::start(&format!("{TWO_ECHOES}{FAR}"));
    let mut browser = Browser::start();
    browser.call("Page.navigate", json!({ "url": format!("http://{}/", gateway.status()) }));
    wait_for(&mut browser, "document.getElementById('link')?.textContent === 'live'");
    let state = "document.querySelector('[data-rows=servers] [data-path=state]')?.textContent";
    let mut shows = |listeners: &str, server: &str| {
        wait_for(&mut browser, &format!("{}.join() === '{listeners}'", names_of("listeners")));
        wait_for(&mut browser, &format!("{state} === '{server}'"));
    };
    shows("less,more", "up");
    tell(&gateway, &["listener", "less", "pause"]);
    tell(&gateway, &["server", "far/a", "drain"]);
    shows("less (paused),more", "drain");
    tell(&gateway, &["listener", "less", "resume"]);
    tell(&gateway, &["server", "far/a", "ready"]);
    shows("less,more", "up");
    // What its file says of a server.
    let names = format!("{}.join() === 'far/a,far/b (backup)'", names_of("servers"));
    wait_for(&mut browser, &names);
    let open = "document.querySelectorAll('[data-rows=servers] [data-path=open]')";
    wait_for(&mut browser, &format!("{open}[0].textContent === '0'"));
    wait_for(&mut browser, &format!("{open}[1].textContent === '0 / 7'"));
    assert_eq!(browser.complaints(), [""; 0]);
    gateway.stop();
}
