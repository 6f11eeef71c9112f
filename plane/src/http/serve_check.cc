#include "writ/plane/serve_check.h"

#include "http/socket.h"
#include "writ/base/status/status_server.h"

namespace writ::plane {

Status CheckServing(const HttpServerOptions& options) {
  if (options.tls)
    if (auto loaded = http::TlsContext::Load(*options.tls); !loaded)
      return std::move(loaded).error();
  WRIT_TRY(http::CheckHost(
      options.host, options.tls ? http::PlainHttp::kNotUsed : http::PlainHttp::kOnLoopbackOnly));
  return options.metrics.empty() ? Status() : status::CheckStatusAddress(options.metrics);
}

}  // namespace writ::plane
