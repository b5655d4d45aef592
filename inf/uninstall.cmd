@echo off
rem Removes Xenguard from this Windows, in the order that never leaves a filter without its file. Run as
rem Administrator, in an emulated or a PV boot. From Vista on everything after the name is passed on to xenguard
rem uninstall; on Server 2003 no arguments are taken.
rem A folder may have an exclamation mark in its name.
setlocal DisableDelayedExpansion
cd /d "%~dp0" || (
  echo Copy this folder to a local disk, and run it from there: nothing was done.
  exit /b 3
)
if /i not "%PROCESSOR_ARCHITECTURE%"=="AMD64" (
  echo Run this in the 64-bit command prompt of an x64 Windows.
  exit /b 1
)
fsutil dirty query %SystemDrive% >nul 2>&1
if not "%errorlevel%"=="0" (
  echo Run this as Administrator.
  exit /b 7
)
rem A program that crashes ends with a negative code.
xenguard.exe --version >nul 2>&1
if not "%errorlevel%"=="0" goto without
if not exist "%SystemRoot%\System32\pnputil.exe" goto without
xenguard.exe uninstall %*
exit /b %errorlevel%

:without
rem xenguard.exe does not run here, or this is a Windows before Vista, without pnputil.
if not "%~1"=="" (
  echo Without xenguard.exe, and on Server 2003, this takes no arguments, and has no --dry-run: nothing was done.
  exit /b 2
)
rem Where a policy has disabled the registry tools, reg.exe answers as if nothing were there.
reg query HKLM\SYSTEM\Select /v Current >nul 2>&1
if not "%errorlevel%"=="0" (
  echo reg.exe cannot read the registry: nothing was done. Is the policy DisableRegistryTools in force?
  exit /b 7
)
if not exist idefilter.inf (
  echo idefilter.inf is missing here: nothing was done. Run this from the package's folder.
  exit /b 3
)
net stop xenguard-svc >nul 2>&1
sc delete xenguard-svc >nul 2>&1
reg delete HKLM\SYSTEM\CurrentControlSet\Services\EventLog\System\xenguard-svc /f >nul 2>&1
del "%SystemRoot%\System32\xenguard-svc.exe" >nul 2>&1
rem Filter and service go, the file stays. Without idefilter neither xenpci nor xenvbd loads: the next boot, from
rem whichever entry, is emulated.
rundll32.exe setupapi.dll,InstallHinfSection DefaultUninstall 128 .\idefilter.inf
set left=
for %%c in (4D36E97D 4D36E96A 4D36E97B 4D36E967) do (
  reg query "HKLM\SYSTEM\CurrentControlSet\Control\Class\{%%c-E325-11CE-BFC1-08002BE10318}" /v UpperFilters 2>nul | find /i "idefilter" >nul && set left=1
)
if defined left (
  echo The filter is still in UpperFilters: nothing more was removed.
  exit /b 5
)
rem Setup tells no failure. What is left would be started without the drivers that go with it.
set still=
for %%s in (idefilter idefallback) do (
  reg query "HKLM\SYSTEM\CurrentControlSet\Services\%%s" /v DisplayName 2>nul | find /i "Xenguard" >nul && (
    reg query "HKLM\SYSTEM\CurrentControlSet\Services\%%s" /v DeleteFlag >nul 2>&1 || set still=1
  )
)
if defined still (
  echo idefilter or idefallback is still registered: nothing more was removed. See setupapi.log in %SystemRoot%.
  exit /b 5
)
rem Other suites have services of these names, too, and lists that name them: what is another vendor's stays.
set theirs=
for %%s in (xenpci xenvbd) do (
  reg query "HKLM\SYSTEM\CurrentControlSet\Services\%%s" /v DisplayName 2>nul | find /i "Xenguard" >nul || reg query "HKLM\SYSTEM\CurrentControlSet\Services\%%s" /v Start >nul 2>&1 && set theirs=1
)
set ours=
reg query "HKLM\SYSTEM\CurrentControlSet\Services\xenpci" /v DisplayName 2>nul | find /i "Xenguard" >nul && set ours=1
if defined ours reg delete "HKLM\SYSTEM\CurrentControlSet\Control\CriticalDeviceDatabase\pci#ven_5853&dev_0001" /f >nul 2>&1
if defined ours reg delete "HKLM\SYSTEM\CurrentControlSet\Control\CriticalDeviceDatabase\pci#ven_5853&dev_0002" /f >nul 2>&1
reg delete "HKLM\SYSTEM\CurrentControlSet\Control\CriticalDeviceDatabase\xenguard#vbd" /f >nul 2>&1
reg query "HKLM\SYSTEM\CurrentControlSet\Services\xenvbd" /v DisplayName 2>nul | find /i "Xenguard" >nul && sc delete xenvbd >nul 2>&1
reg query "HKLM\SYSTEM\CurrentControlSet\Services\xenpci" /v DisplayName 2>nul | find /i "Xenguard" >nul && sc delete xenpci >nul 2>&1
if defined theirs goto others
echo Restart from the emulated entry. After that remove the PV entry from boot.ini and delete
echo idefilter.sys, idefallback.sys, xenpci.sys and xenvbd.sys from %SystemRoot%\System32\drivers.
exit /b 0

:others
echo Another vendor's xenpci or xenvbd is installed and stays, with its file and with the entries of boot.ini that
echo its suite uses. Restart; after that delete idefilter.sys and idefallback.sys from %SystemRoot%\System32\drivers.
exit /b 0
