// ServedPages: a machine whose memory comes from a page server, as its owner sees it.
//
// `attached` is called once, when the monitor has shown its memory; `lost` once, when nothing
// answers the machine's faults any more: its owner kills it (L32). In the loop's thread.
#pragma once

#include <functional>
#include <memory>

#include "writ/backends/microvm/event_loop.h"
#include "writ/backends/microvm/pages/page_service.h"
#include "writ/backends/microvm/vmm.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

class ServedPages {
 public:
  using OnLost = std::function<void(const Error&)>;
  // `supplies`: kSuppliesWord. The server is ready for the monitor when this returns.
  enum class Machine { kGoesOn, kWaits };  // once it is restored
  static Result<std::unique_ptr<ServedPages>> Begin(EventLoop& loop, UniqueFd supplies,
                                                    Machine machine, std::function<void()> attached,
                                                    OnLost lost);
  // Of a machine that has been handed over: its memory was shown long ago. `supplies`: where the
  // backend listens.
  static std::unique_ptr<ServedPages> Adopt(EventLoop& loop, UniqueFd supplies, UniqueFd control,
                                            OnLost lost);
  ~ServedPages() { loop_.Remove(watch_); }
  ServedPages(const ServedPages&) = delete;
  ServedPages& operator=(const ServedPages&) = delete;

  // For Vmm::Restore; HandedOver comes after it.
  PageServer memory() const;
  // The monitor has its descriptors: ours are closed, so that its end is seen, and nobody here can
  // make a userfaultfd any more.
  void HandedOver();
  bool attached() const { return attached_; }
  // The clone's control connection, for who owns the machine from now on. Nothing is told any more.
  UniqueFd HandOver();
  // Brings what the server has counted to the backend, on the socket of the supplies; not waited
  // for.
  void BringCounters() { (void)client_.AskCounters().has_value(); }

 private:
  ServedPages(EventLoop& loop, UniqueFd supplies, UniqueFd control, std::function<void()> attached,
              OnLost lost);
  void OnControl();
  void Lost(const Error& why);

  EventLoop& loop_;
  const UniqueFd supplies_;
  pages::PageClient client_;
  const std::function<void()> attached_call_;
  const OnLost lost_;
  UniqueFd stream_;
  UniqueFd device_;
  EventLoop::WatchId watch_ = 0;
  bool attached_ = false;
};

}  // namespace writ::backends::microvm
