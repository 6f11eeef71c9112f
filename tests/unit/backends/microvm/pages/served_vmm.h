// A page server and machines that it serves, for tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "memory_files.h"
#include "patience.h"
#include "support/places.h"
#include "test_vmm.h"
#include "writ/backends/microvm/pages/page_service.h"
#include "writ/backends/microvm/pages/uffd_probe.h"

namespace writ::test {

inline constexpr uid_t kNobody = 65534;

// The server's own uid where it can have one.
inline uid_t ServerUid() {
  return ::geteuid() == 0 ? kNobody : ::geteuid();
}

inline Result<backends::microvm::pages::PageService> StartPages(
    const backends::microvm::pages::ServingOptions& serving = {}) {
  backends::microvm::pages::PageServiceOptions options;
  options.program = BinDir() + "/writ-pages";
  if (::geteuid() == 0) options.identity = {kNobody, kNobody};
  options.serving = serving;
  return backends::microvm::pages::PageService::Start(options);
}

// A clone's control connection, whose words are awaited for kPatience: silence is "pages.lost".
inline Result<UniqueFd> AddClone(backends::microvm::pages::PageService& service, std::uint64_t id,
                                 uid_t vmm_uid) {
  WRIT_ASSIGN(UniqueFd control, service.AddClone(id, vmm_uid));
  BoundReads(control.get());
  return control;
}

struct ServedVmm {
  backends::microvm::pages::PageClient client;
  TestVmm vmm;
};

// A machine whose memory is snapshot `id`'s, attached.
inline Result<ServedVmm> ServeVmm(backends::microvm::pages::PageService& service, std::uint64_t id,
                                  const TestVmmOptions& options,
                                  std::optional<std::uint32_t> cpu = std::nullopt,
                                  bool waits = false) {
  namespace pages = backends::microvm::pages;
  WRIT_ASSIGN(UniqueFd control,
              AddClone(service, id, options.uid == 0 ? ::geteuid() : options.uid));
  WRIT_ASSIGN(TestVmm vmm, TestVmm::Start(options));
  pages::PageClient client(std::move(control));
  WRIT_TRY(client.Serve({pages::Serve::By::kStream, cpu, waits}, vmm.server_end()));
  vmm.ShowOnStream();
  WRIT_ASSIGN(const auto word, client.Receive());
  if (const auto* failed = std::get_if<pages::Failed>(&word)) return pages::ToError(*failed);
  const auto* attached = std::get_if<pages::Attached>(&word);
  if (attached == nullptr || static_cast<pid_t>(attached->pid) != vmm.pid() ||
      attached->ram_bytes != options.bytes || vmm.TakeAnswer() != "done")
    return Error{ErrorKind::kInternal, "test.attached", "the machine was not attached"};
  return ServedVmm{std::move(client), std::move(vmm)};
}

// The next word, which is to be a failure.
inline backends::microvm::pages::Failed TakeFailed(backends::microvm::pages::PageClient& client) {
  auto word = client.Receive();
  if (!word) return {ErrorKind::kInternal, word.error().code, word.error().message};
  const auto* failed = std::get_if<backends::microvm::pages::Failed>(&*word);
  return failed != nullptr ? *failed : backends::microvm::pages::Failed{};
}

}  // namespace writ::test

// Skips, with the reason, where no process may have its memory served.
#define WRIT_REQUIRE_USERFAULT()                                                         \
  do {                                                                                   \
    if (auto writ_probe = writ::backends::microvm::pages::ProbeUserfault(); !writ_probe) \
      GTEST_SKIP() << writ_probe.error().ToString();                                     \
  } while (false)
