// CheckServing: what HttpServer::Start refuses whatever others have taken, said without serving:
// certificates that cannot be loaded, an address that is none or needs them, a status address that
// is not of this machine alone.
#pragma once

#include "writ/base/result.h"
#include "writ/plane/http_server.h"

namespace writ::plane {

Status CheckServing(const HttpServerOptions& options);

}  // namespace writ::plane
