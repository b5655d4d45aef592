# Saves the guest $DOMID to a file and has the job script restore it from there: what a migration does, on one host.
touch saving
xl save "$DOMID" save.img && touch saved
