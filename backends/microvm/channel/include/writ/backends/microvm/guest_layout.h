// Names that a guest image and the agent in it agree on.
#pragma once

namespace writ::backends::microvm {

// In the initramfs.
inline constexpr char kModuleDir[] = "/writ/modules/";
inline constexpr char kModuleList[] = "/writ/modules.load";  // names in the order of loading
inline constexpr char kLauncherFile[] = "/writ/writ-launch";
// Only in images of a recipe's steps: a RootJob (messages.h).
inline constexpr char kRootJobFile[] = "/writ/root-job";
// Appended by whoever boots: the host's and the guest's token, one a line. Gone once it is read.
inline constexpr char kTokenFile[] = "/writ-tokens";

// Devices.
inline constexpr char kRootDrive[] = "root";  // serial of a virtio-blk: the root image
// workspace/ and read-only trees of one run.
inline constexpr char kInputsDrive[] = "inputs";
// The same of all runs on one base, beneath the inputs; for a run without, the inputs once more.
inline constexpr char kBaseDrive[] = "base";
inline constexpr char kAgentPort[] = "writ.agent";  // name of a virtio-serial port

// Words on the kernel's command line, for monitors that cannot name a device from outside: where
// the agent is reached (without it: the port), and where a drive is (without it: by its serial).
inline constexpr char kVsockWord[] = "writ.channel=vsock";
inline constexpr char kDriveWord[] = "writ.drive.";  // NAME=vda
inline constexpr unsigned kAgentVsockPort = 1000;    // below 1024: no job can take it

// In the running guest.
inline constexpr unsigned kGuestJobUid = 1000;  // and gid: its workspace is its own
inline constexpr char kInputsDir[] = "/run/inputs";
inline constexpr char kBaseDir[] = "/run/base";
inline constexpr char kScratchDir[] = "/run/scratch";

// In the workspace, after a job that is a step of a recipe: a tree stream of what it has changed
// of the root.
inline constexpr char kLayerName[] = "layer";

}  // namespace writ::backends::microvm
