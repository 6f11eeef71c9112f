// config.json: the plane's own member, and how `writ plane start` listens.
#include "settings.h"
#include "writ/protocol/reader.h"

namespace writ::cli {
namespace {

Result<plane::HttpServerOptions> ReadServe(const json::Value& document) {
  plane::HttpServerOptions out;
  json::Issues issues;
  json::ObjectReader root(issues, document);
  if (auto serve = root.OptionalChild("serve")) {
    auto text = [&](std::string_view name, std::string& to) {
      if (auto value = serve->OptionalString(name, {.max_bytes = 4096})) to = std::move(*value);
    };
    text("host", out.host);
    if (auto port = serve->OptionalInteger("port", 0, 65535))
      out.port = static_cast<std::uint16_t>(*port);
    plane::TlsFiles tls;
    text("tlsCert", tls.certificate);
    text("tlsKey", tls.key);
    text("clientCa", tls.client_ca);
    text("metrics", out.metrics);
    serve->RefuseUnknown();
    if (tls.certificate.empty() != tls.key.empty())
      return Error{ErrorKind::kInvalid, "cli.half_tls", "a TLS certificate and its key go together",
                   "set both of --tls-cert and --tls-key, or serve.tlsCert and serve.tlsKey"};
    if (tls.certificate.empty() && !tls.client_ca.empty())
      return Error{ErrorKind::kInvalid, "cli.half_tls",
                   "a CA for clients goes with a TLS certificate and its key",
                   "set --tls-cert and --tls-key beside --client-ca"};
    if (!tls.certificate.empty()) out.tls = std::move(tls);
  }
  WRIT_TRY(issues.ToStatus("config.json"));
  return out;
}

}  // namespace

Result<PlaneSettings> ParsePlaneSettings(const Sources& sources) {
  // By itself first, so that what is wrong in the file is told as its own.
  if (!sources.file.empty()) {
    auto alone = plane::ParseConfig(sources.text);
    if (!alone)
      return ExplainSettingsError(std::move(alone).error().With("reading " + sources.file),
                                  sources.file);
  }
  WRIT_ASSIGN(Layered layered, LayerSettings(SettingsFile::kPlane, sources));
  if (sources.file.empty()) layered.document.object().Set("version", "writ.config.v1");
  PlaneSettings out;
  auto config = plane::ParseConfig(json::Write(layered.document));
  if (!config) return std::move(config).error().With("with the environment above the file");
  out.config = *config;
  auto serving = ReadServe(layered.document);
  if (!serving) return ExplainSettingsError(std::move(serving).error(), "it");
  out.serve = std::move(*serving);
  WRIT_ASSIGN(json::Value complete, json::Parse(plane::ConfigJson(out.config)));
  complete.object().Erase("version");
  json::Object serve{{"host", out.serve.host}, {"port", out.serve.port}};
  if (!out.serve.metrics.empty()) serve.Set("metrics", out.serve.metrics);
  if (out.serve.tls) {
    serve.Set("tlsCert", out.serve.tls->certificate);
    serve.Set("tlsKey", out.serve.tls->key);
    if (!out.serve.tls->client_ca.empty()) serve.Set("clientCa", out.serve.tls->client_ca);
  }
  complete.object().Set("serve", std::move(serve));
  out.effective = Effective(SettingsFile::kPlane, layered, complete);
  return out;
}

}  // namespace writ::cli
