//! Pages of HTML, as what stands before an API sends them.

/// What a proxy says when the server behind it is gone.
pub(in crate::standin) fn bad_gateway(request_id: &str) -> Vec<u8> {
    let ray = request_id.get(4..20).unwrap_or_default();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en-US\">\n<head>\n<title>api.openai.com | 502: Bad gateway</title>\n\
         <meta charset=\"UTF-8\" />\n</head>\n<body>\n<h1>Bad gateway <span>Error code 502</span></h1>\n\
         <p>The web server reported a bad gateway error.</p>\n<p>Cloudflare Ray ID: <strong>{ray}</strong></p>\n</body>\n</html>\n"
    )
    .into_bytes()
}

/// What a gateway says that gives a status and its name, and no more.
pub(in crate::standin) fn status(status: &str) -> Vec<u8> {
    format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    .into_bytes()
}
