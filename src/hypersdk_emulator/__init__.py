"""An Oracle Cloud on loopback, to rehearse and test on; started by `hyperexport emulator`."""
