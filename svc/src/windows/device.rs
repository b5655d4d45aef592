//! xenpci's channel as the service has it: let go of when the service is to stop, or the device is asked to go.
#![expect(unsafe_code, reason = "calls of the Windows API, which std does not have")]

use std::{fs::OpenOptions, io, time::Duration};

use bootcfg::channel::{
    device::{self, Ended},
    event::Event,
};
use guard::channel::{Event as News, GET_EVENT, GET_VERSION, HEARTBEAT, Version};
use windows_sys::Win32::{
    Foundation::HANDLE,
    UI::WindowsAndMessaging::{
        DBT_DEVTYP_HANDLE, DEV_BROADCAST_HANDLE, DEVICE_NOTIFY_SERVICE_HANDLE, HDEVNOTIFY,
        RegisterDeviceNotificationW, UnregisterDeviceNotification,
    },
};

use super::service::Controls;
use crate::run::{Channel, Next};

/// The open channel.
pub(super) struct Device {
    controls: &'static Controls,
    device: Option<device::Device>,
    /// Windows asks before the device goes. Without it the device stays until the service stops.
    notification: Option<Notification>,
}

impl Device {
    /// Opens the channel; `None` where no device offers it.
    ///
    /// # Errors
    /// The answer of Windows.
    pub(super) fn open(controls: &'static Controls) -> io::Result<Option<Device>> {
        let Some(device) = device::Device::open(OpenOptions::new().read(true).write(true))? else {
            return Ok(None);
        };
        controls.leave.clear();
        controls.left.clear();
        let notification = Notification::new(controls, device.raw());
        Ok(Some(Device { controls, device: Some(device), notification }))
    }

    /// Returns the events that interrupt a request: that the service is to stop, and that the device is asked to go.
    const fn interrupts(&self) -> [&'static Event; 2] {
        [&self.controls.stop, &self.controls.leave]
    }

    /// Returns the open device.
    fn device(&self) -> io::Result<&device::Device> {
        self.device.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends a control code whose answer waits for nothing.
    fn ask<const N: usize>(&self, code: u32, input: &[u8]) -> io::Result<[u8; N]> {
        self.device()?.ask(code, input, &self.interrupts())
    }
}

impl Channel for Device {
    fn version(&mut self) -> io::Result<Version> {
        let answer: [u8; 8] = self.ask(GET_VERSION, &[])?;
        let (words, _) = answer.as_chunks::<4>();
        Ok(Version { channel: u32::from_le_bytes(words[0]), abi: u32::from_le_bytes(words[1]) })
    }

    fn beat(&mut self, carried: u64) -> io::Result<Option<u64>> {
        match self.ask::<8>(HEARTBEAT, &carried.to_le_bytes()) {
            Ok(answer) => Ok(Some(u64::from_le_bytes(answer))),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn next(&mut self, from: u64, limit: Duration) -> Next {
        let mut output = [0; News::BYTES];
        let interrupts = self.interrupts();
        let ended = self.device().and_then(|device| {
            device.control(GET_EVENT, &from.to_le_bytes(), &mut output, Some(limit), &interrupts)
        });
        match ended {
            Ok(Ended::Answered(News::BYTES)) => Next::Event(News::from_bytes(&output)),
            Ok(Ended::Answered(bytes)) => Next::Gone(format!("an event of {bytes} bytes")),
            Ok(Ended::Interrupted(0)) => Next::Stop,
            Ok(Ended::Interrupted(_)) => Next::Gone("its device is asked to go".to_owned()),
            Ok(Ended::Late) => Next::Nothing,
            Err(error) => Next::Gone(error.to_string()),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        drop(self.device.take());
        // Whoever asks the device to go waits for this, and may be waited for by what follows.
        self.controls.left.set();
        drop(self.notification.take());
    }
}

/// A registration for what is about to happen to the device of an open file.
struct Notification(HDEVNOTIFY);

impl Notification {
    fn new(controls: &Controls, file: HANDLE) -> Option<Notification> {
        let filter = DEV_BROADCAST_HANDLE {
            dbch_size: size_of::<DEV_BROADCAST_HANDLE>() as u32,
            dbch_devicetype: DBT_DEVTYP_HANDLE,
            dbch_handle: file,
            ..DEV_BROADCAST_HANDLE::default()
        };
        // SAFETY: the recipient is this service; the filter has its size and kind, and lives until the call returns.
        let registered = unsafe {
            RegisterDeviceNotificationW(
                controls.status_handle(),
                (&raw const filter).cast(),
                DEVICE_NOTIFY_SERVICE_HANDLE,
            )
        };
        (!registered.is_null()).then_some(Notification(registered))
    }
}

impl Drop for Notification {
    fn drop(&mut self) {
        // SAFETY: registered, and not used after this.
        unsafe { UnregisterDeviceNotification(self.0) };
    }
}
