//! Whose an address is.

use std::net::IpAddr;

use url::Url;

/// Whether `base_url` leads to this machine: then no key is needed, and no proxy is asked.
#[must_use]
pub fn is_loopback(base_url: &str) -> bool {
    Url::parse(base_url).is_ok_and(|url| url.host_str().is_some_and(is_local_host))
}

pub(crate) fn is_local_host(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_the_host_alone() {
        for url in [
            "http://localhost:8000/v1",
            "http://127.0.0.1",
            "http://127.9.9.9/",
            "http://[::1]:80/v1",
            "http://a.localhost./v1",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "https://api.openai.com/v1",
            "http://localhost.example.com",
            "http://127.0.0.1.nip.io",
            "http://localhost@evil.test",
            "localhost",
            "",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
