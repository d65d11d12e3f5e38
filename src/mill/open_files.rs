//! How many files this process may have open.

/// The most files that this process may have open; raised to the most that the system lets it have.
pub(super) fn open_files() -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // macOS has an infinite maximum that it does not accept.
        let wanted = maximum.unwrap_or(65_536).min(65_536).max(current.unwrap_or(u64::MAX));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok();
        let files = if raised { wanted } else { current.unwrap_or(wanted) };
        usize::try_from(files).unwrap_or(usize::MAX)
    }
    #[cfg(not(unix))]
    {
        8_192
    }
}
