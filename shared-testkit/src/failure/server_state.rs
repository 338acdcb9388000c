//! Where the server of a failed test is at that moment, in one line.

use crate::failure::evidence::{Evidence, Socket};

impl Evidence {
    /// Where the server is, in one line of meaning.
    pub fn server_state(&self) -> String {
        if self.has_ended {
            return self.fate.clone();
        }
        let mut facts = Vec::new();
        match self.threads.iter().find_map(|thread| thread.call) {
            _ if self.spins => facts.push("runs without a pause".to_owned()),
            Some(call) => facts.push(format!("asleep in {call}")),
            None => facts.push(self.fate.clone()),
        }
        if let Some(n) = self.listener.as_ref().map(|l| l.unread).filter(|&n| n > 0) {
            facts.push(format!("connections pending: {n}"));
        }
        for (peer, socket) in self
            .open()
            .filter(|(_, s)| s.unread + s.unsent > 0 || s.wants_to_write())
            .take(3)
        {
            facts.push(socket.describe(&peer.name));
        }
        facts.join("; ")
    }
}

impl Socket {
    fn describe(&self, name: &str) -> String {
        let trigger = if self.is_level_triggered() {
            "level"
        } else {
            "edge"
        };
        let is_blocking = if self.blocking {
            ", and the socket is blocking"
        } else {
            ""
        };
        let interest = match self.interest {
            None => "is not registered".to_owned(),
            Some(_) if self.wants_to_write() => {
                format!("is registered {trigger}-triggered, with WRITABLE")
            }
            Some(_) => format!("is registered {trigger}-triggered for READABLE"),
        };
        format!(
            "{} bytes of {name}'s are unread, {} unsent; {name} {interest}{is_blocking}",
            self.unread, self.unsent
        )
    }
}
