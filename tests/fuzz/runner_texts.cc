// The small parsers of the runner: origin URLs, HTTP dates, version ranges, the configuration file.
// The first byte chooses.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "writ/runner/config.h"
#include "writ/runner/http_client.h"
#include "writ/runner/plane_client.h"
#include "writ/runner/profiles.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace writ::runner;
  if (size == 0 || size > 65536) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'u': {
      writ::Result<OriginUrl> origin = ParseOriginUrl(text);
      // Whatever is taken: plain http is loopback, and the host has nothing that could end it
      // early.
      if (origin && origin->scheme == OriginUrl::Scheme::kHttp && !origin->loopback) std::abort();
      if (origin && origin->host.find_first_of(" /@\\?#\r\n") != std::string::npos) std::abort();
      break;
    }
    case 'd':
      if (auto date = ParseHttpDate(text); date && date->unix_ms < 0) std::abort();
      break;
    case 'v': {
      std::size_t split = text.find('\n');
      if (split == std::string_view::npos) break;
      (void)VersionMeets(text.substr(0, split), text.substr(split + 1));
      break;
    }
    default: {
      writ::Result<RunnerConfig> config = ParseRunnerConfig(text);
      if (!config) break;
      std::string written = RunnerConfigJson(*config);
      writ::Result<RunnerConfig> again = ParseRunnerConfig(written);
      if (!again || RunnerConfigJson(*again) != written) std::abort();
      break;
    }
  }
  return 0;
}
