//! How many descriptors this process and its children may open.

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::workload::Workload;

/// Descriptors besides the clients' sockets: pipes, polls, standard streams, `/proc`.
const SPARE: usize = 100;

/// Raises the soft limit to the hard one, for this process and those it starts. Fails if that is
/// not enough for the largest of the workloads.
pub(crate) fn raise_descriptors(workloads: &[Workload], servers: usize) -> Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: hard,
        maximum: hard,
    };
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open descriptors")?;

    let Some(hard) = hard else {
        return Ok(());
    };
    for workload in workloads {
        // All servers of a workload are alive together.
        let needed = workload.clients() * servers + SPARE;
        if (needed as u64) > hard {
            bail!(
                "{} needs {needed} descriptors and the hard limit (`ulimit -Hn`) is {hard}: raise \
                 it, or name the workloads to run",
                workload.name
            );
        }
    }
    Ok(())
}
