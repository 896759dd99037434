// The element that asks a visitor for help.
const ASSETS = null;
const STYLE = "";
