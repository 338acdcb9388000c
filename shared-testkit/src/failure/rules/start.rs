//! Starting, and connecting.

use super::*;

rules! { RULES:
    "address-ignored" Crash, |e| when(e.is_starting && wants_free_port(e) && e.end.is_some() && e.stderr.iter().any(|line| line.to_lowercase().contains("in use"))),
        "The server was to listen on port 0, a free port, and ended because its port is in use: it has tried another one. Is its argument ignored?",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [|e| { e.is_starting = true; e.wanted = "127.0.0.1:0".parse().ok(); end(e, "Error: address in use"); }];
    "no-restart" Crash, |e| e.wanted.filter(|at| e.is_starting && at.port() != 0 && !e.is_taken && e.stderr.iter().any(|line| line.to_lowercase().contains("in use"))).map(|at| at.to_string()),
        "The server could not listen on {}, where nobody listens: connections of the server before it still have that address. Set SO_REUSEADDR before bind.",
        "docs/src/without-mio.md, 'An address that was in use'", [|e| { e.is_starting = true; e.wanted = "127.0.0.1:9".parse().ok(); end(e, "Error: Address already in use"); }];
    "address-ignored" Certain, |e| e.wanted.filter(|_| wants_free_port(e) && e.listens_at.is_some_and(|at| at.port() == 8080)).map(|wanted| wanted.to_string()),
        "The server was to listen on {}, where 0 is a free port, and listens on port 8080: its argument is ignored.",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [|e| { e.wanted = "127.0.0.1:0".parse().ok(); e.listens_at = "127.0.0.1:8080".parse().ok(); }];
    "listens-elsewhere" Certain, elsewhere,
        "The server was to listen on {}. Take the address from the argument: the host is what precedes the last colon.",
        "docs/src/1-accept.md, 'Start, or say why not'", [
            |e| { e.wanted = "[::1]:0".parse().ok(); e.listens_at = "127.0.0.1:9".parse().ok(); e.is_starting = true; },
            |e| { e.wanted = "[::1]:0".parse().ok(); e.listens_at = "0.0.0.0:9".parse().ok(); expects(e, "Accepted connection from [::1]:"); },
        ];
    "no-address" Certain, |e| printed(e).filter(|line| line.starts_with("\"/")),
        "{} is no address such as 127.0.0.1:8080: the slash is how Java shows an address. Print the host and the port.",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [|e| e.expected = Expected::Listening(Some("/127.0.0.1:9".to_owned()))];
    "no-address" Certain, printed,
        "After `Listening on`, the server printed {}, which is no address such as 127.0.0.1:8080.",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [|e| e.expected = Expected::Listening(Some("port 9".to_owned()))];
    "not-announced" Certain, |e| when(e.is_starting && e.end.is_none() && e.listener.is_some() && e.is_final()),
        "The server listens, but no line with `Listening on` and its address has come through its stdout or stderr. Print it, and flush.",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [|e| e.is_starting = true];
    "does-not-listen" Certain, |e| when(e.is_starting && e.end.is_none() && e.listener.is_none() && !e.threads.is_empty() && !e.threads.iter().any(|thread| thread.runs)),
        "The command runs, but it listens on no port, and has not printed `Listening on` and an address.",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [|e| { e.is_starting = true; e.listener = None; }];
    "wrong-port" Certain, wrong_port,
        "{}. Print the port that the kernel has chosen (getsockname), and its two bytes in the right order (ntohs).",
        "docs/src/your-own-server.md, 'Run a chapter's tests against it'", [|e| { e.expected = Expected::Connection; e.printed = "127.0.0.1:1".parse().ok(); e.listens_at = "127.0.0.1:256".parse().ok(); }];
    "backlog-full" Certain, |e| e.listener.as_ref().filter(|l| e.expected == Expected::Connection && l.unread > 0).map(|l| l.unread.to_string()),
        "A client cannot connect: {} connections are pending, and the kernel admits no more. The backlog is full: give listen a larger number, and accept until WouldBlock.",
        "docs/src/1-accept.md, 'Accept until WouldBlock'", [|e| { e.expected = Expected::Connection; e.listener.as_mut().unwrap().unread = 6; }];
}

fn wants_free_port(e: &Evidence) -> bool {
    e.wanted.is_some_and(|wanted| wanted.port() == 0)
}

/// Where it was to listen, and where it does, if that explains what was expected: a client reaches one that
/// listens everywhere, unless it is of the other family.
fn elsewhere(e: &Evidence) -> Option<String> {
    let (wanted, at) = (e.wanted?, e.listens_at?);
    let is_of_client = matches!(e.expected, Expected::Registered(_) | Expected::Connection);
    let is_out_of_reach = !at.ip().is_unspecified() || wanted.is_ipv6() && at.is_ipv4();
    let is_about_it = (is_of_client || e.expects(ACCEPTED)) && is_out_of_reach;
    let differs = wanted.ip() != at.ip();
    ((is_about_it || e.is_starting) && differs).then(|| format!("{wanted}, and listens on {at}"))
}

/// What came after `Listening on`.
fn printed(e: &Evidence) -> Option<String> {
    match &e.expected {
        Expected::Listening(printed) => printed.as_ref().map(|line| format!("{line:?}")),
        _ => None,
    }
}

fn wrong_port(e: &Evidence) -> Option<String> {
    let (printed, at) = (e.printed?, e.listens_at?);
    let differs = e.expected == Expected::Connection && printed.port() != at.port();
    differs.then(|| {
        format!("Nobody listens at {printed}, as the server has printed: it listens at {at}")
    })
}
