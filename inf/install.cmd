@echo off
rem Installs Xenguard on this Windows. Nothing changes for boots from the present boot entry: it stays the default,
rem and its disks stay emulated. Run as Administrator. From Vista on everything after the name is passed on to xenguard
rem install; on Server 2003 no arguments are taken.
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
set runs=
xenguard.exe --version >nul 2>&1
if "%errorlevel%"=="0" set runs=1
rem Windows has pnputil from Vista on.
if exist "%SystemRoot%\System32\pnputil.exe" goto vista
if not "%~1"=="" (
  echo On Server 2003 this takes no arguments, and has no --dry-run: nothing was done.
  exit /b 2
)
if not defined runs goto without
rem xenguard.exe looks, and then setup does what the INF files say.
xenguard.exe check
if not "%errorlevel%"=="0" (
  echo Something stands against an installation: nothing was done. The lines that say wrong: name it.
  exit /b 1
)

:without
rem Setup does what the INF files say, and the rest is said. Nobody has looked, if xenguard.exe does not run here.
for %%f in (idefilter.sys idefallback.sys xenpci.sys xenvbd.sys idefilter.inf xenpci.inf xenvbd.inf xenguard.cat) do if not exist %%f (
  echo %%f is missing here: nothing was done.
  exit /b 3
)
rem Where a policy has disabled the registry tools, reg.exe answers as if nothing were there.
reg query HKLM\SYSTEM\Select /v Current >nul 2>&1
if not "%errorlevel%"=="0" (
  echo reg.exe cannot read the registry: nothing was done. Is the policy DisableRegistryTools in force?
  exit /b 7
)
rem What is installed now would go at the restart that ends an uninstallation, and the class filters would stay.
for %%s in (idefilter idefallback xenpci xenvbd) do reg query "HKLM\SYSTEM\CurrentControlSet\Services\%%s" /v DeleteFlag >nul 2>&1 && (
  echo The service %%s was uninstalled, and Windows removes it at the restart only: restart first. Nothing was done.
  exit /b 3
)
rem The files first, and onto the disk before a service names them. Then the services; the service's own section appends
rem the class filter last.
rundll32.exe setupapi.dll,InstallHinfSection Idefilter.CopyFile 128 .\idefilter.inf
if defined runs xenguard.exe flush >nul 2>&1
rundll32.exe setupapi.dll,InstallHinfSection DefaultInstall 128 .\idefilter.inf
rem Setup tells no failure: what it did is seen.
set missing=
for %%s in (idefilter idefallback) do (
  reg query "HKLM\SYSTEM\CurrentControlSet\Services\%%s" /v Start >nul 2>&1 || set missing=1
  if not exist "%SystemRoot%\System32\drivers\%%s.sys" set missing=1
)
for %%c in (4D36E97D 4D36E96A 4D36E97B 4D36E967) do (
  reg query "HKLM\SYSTEM\CurrentControlSet\Control\Class\{%%c-E325-11CE-BFC1-08002BE10318}" /v UpperFilters 2>nul | find /i "idefilter" >nul || set missing=1
)
if defined missing (
  echo The filter was not installed as a whole: run uninstall.cmd. See setupapi.log in %SystemRoot%.
  exit /b 5
)
set flushed=
if defined runs xenguard.exe flush >nul 2>&1 && set flushed=1
rem The service; the drivers do not depend on it.
if exist xenguard-svc.exe (
  net stop xenguard-svc >nul 2>&1
  copy /y xenguard-svc.exe "%SystemRoot%\System32\xenguard-svc.exe" >nul
  sc create xenguard-svc binPath= "%%SystemRoot%%\System32\xenguard-svc.exe" type= own start= auto DisplayName= "Xenguard service" >nul 2>&1
  sc failure xenguard-svc reset= 86400 actions= restart/5000/restart/60000/restart/60000 >nul 2>&1
  reg add HKLM\SYSTEM\CurrentControlSet\Services\EventLog\System\xenguard-svc /v EventMessageFile /t REG_EXPAND_SZ /d "%%SystemRoot%%\System32\xenguard-svc.exe" /f >nul 2>&1
  reg add HKLM\SYSTEM\CurrentControlSet\Services\EventLog\System\xenguard-svc /v TypesSupported /t REG_DWORD /d 7 /f >nul 2>&1
  net start xenguard-svc >nul 2>&1
)
echo The filter is installed and the packages are staged.
if not defined flushed echo Not everything is on the disk yet: shut Windows down in order before its power may go.
echo In Device Manager choose Update Driver for the device PCI\VEN_5853^&DEV_0001 ("Xen platform device", or unknown),
echo then add the PV entry: xenguard add, or by hand: see docs\admin-guide.md, "Windows Server 2003".
exit /b 0

:vista
rem Without xenguard.exe nobody would look whether this Windows takes the drivers: signatures, other suites.
if not defined runs (
  echo xenguard.exe does not run here: nothing was done. Is it beside this file, and whole?
  exit /b 8
)
xenguard.exe install --package . %*
exit /b %errorlevel%
